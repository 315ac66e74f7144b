"""A stack on this machine: its file, configuration, secrets, and the checks before an `up`."""
