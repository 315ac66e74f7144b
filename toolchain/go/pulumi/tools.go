//go:build tools

// Package tools pins the Pulumi engine, which the toolchain builds if no official one is found.
package tools

import _ "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
