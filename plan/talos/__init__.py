"""Talos clusters, and the command lines of each talosctl version. Pure."""
