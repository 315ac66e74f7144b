"""What is asked of registries: caches and upstreams alike."""
