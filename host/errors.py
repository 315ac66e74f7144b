"""Errors whose text is for the user: what is wrong, and what to do about it."""


class TalosCacheError(Exception):
    """Base of all of them; `host.entry_point` shows the text as it is."""


class SetupError(TalosCacheError):
    """The set-up can't go on; the text says what is missing and what to do."""
