"""Stand-ins for Pulumi's Python language host and its `docker` and `command` plugins.

They are doubles, for networks in which the official plugin binaries can't be had: the real engine
finds them on PATH, keeps real state and makes real diffs, and real containers run. Where an
official plugin can be had, it is used and these are not.

A double must never be more lenient than what it stands in for. So each refuses, by name, every
resource, property, function and provider option that it does not implement. It does not try to be
complete.
"""
