"""What day-two commands say when they can't go on."""


class OpsError(Exception):
    """A command can't do its work; the text says why and what to do, and is shown as it is."""
