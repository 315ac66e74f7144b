"""Names as stack files and what is kept in states have them."""


def camel(name: str) -> str:
    """`retention_days` -> `retentionDays`."""
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)
