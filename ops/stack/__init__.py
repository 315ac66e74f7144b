"""A stack as it lies on this machine: its file, configuration, secrets, checks before an `up`."""
