"""Requests to registries, caches and upstreams alike."""
