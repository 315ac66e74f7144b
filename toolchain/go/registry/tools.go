//go:build tools

// Package tools pins the registry server, which the toolchain builds if its image can't be pulled.
package tools

import _ "github.com/distribution/distribution/v3/cmd/registry"
