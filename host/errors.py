"""Errors whose text is for the user: what is wrong, and what to do about it."""


class TalosCacheError(Exception):
    """Base class; `host.entry_point` prints the text as it is."""


class SetupError(TalosCacheError):
    """The set-up can't continue; the text says what is missing and what to do."""
