"""Talos clusters, and how talosctl of each version is called. Pure."""
