//go:build tools

// Package tools pins talosctl 1.13.0, which the cluster tests run.
package tools

import _ "github.com/siderolabs/talos/cmd/talosctl"
