//go:build tools

// Package tools pins talosctl 1.11.5, which the tests of clusters run.
package tools

import _ "github.com/siderolabs/talos/cmd/talosctl"
