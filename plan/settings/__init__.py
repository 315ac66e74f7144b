"""The stack's configuration: keys, defaults, checks. Pure."""
