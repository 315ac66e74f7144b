module talos-cache.local/tests/pause

go 1.25.0
