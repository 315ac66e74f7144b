"""Fallbacks for Pulumi's Python language host and its `docker` and `command` plugins.

They are for networks on which the official plugin binaries are unavailable: the real engine finds
them on PATH, keeps real state and makes real diffs, and real containers run. An official plugin
that is available is used instead.

A fallback must never be more lenient than the official plugin. So each refuses, by name, every
resource, property, function and provider option that it does not implement. It does not try to be
complete.
"""
