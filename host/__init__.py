"""This machine, whatever runs on it: paths, locks, private files, the console."""
