"""Containers as Docker lists them."""

from collections.abc import Iterable, Mapping

from ops.docker.api import Container


def container(
    number: str,
    name: str,
    labels: Mapping[str, str] | None = None,
    published: Iterable[tuple[str, int]] = (),
    status: str = "Up",
) -> Container:
    """One of a cache."""
    return Container(
        id=number,
        name=name,
        image="registry",
        status=status,
        labels=tuple((labels or {}).items()),
        published=tuple(published),
    )
