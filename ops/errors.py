"""The error of day-two commands."""

from host.errors import TalosCacheError


class OpsError(TalosCacheError):
    """A command can't do its work; the text says why and what to do, and is shown as it is."""
