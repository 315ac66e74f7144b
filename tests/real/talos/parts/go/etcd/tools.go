//go:build tools

// Package tools pins etcd, which the test cluster keeps its state in.
package tools

import _ "go.etcd.io/etcd/server/v3"
