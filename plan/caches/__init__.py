"""The pull-through caches: addresses, containers and the files in them. Pure."""
