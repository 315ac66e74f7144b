"""The pull-through caches: addresses, containers, files in them. Pure."""
