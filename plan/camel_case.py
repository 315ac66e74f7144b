"""Names as stack files and states write them."""


def camel(name: str) -> str:
    """`retention_days` -> `retentionDays`."""
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)
