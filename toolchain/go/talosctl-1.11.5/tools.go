//go:build tools

// Package tools pins talosctl 1.11.5, which the cluster tests run.
package tools

import _ "github.com/siderolabs/talos/cmd/talosctl"
