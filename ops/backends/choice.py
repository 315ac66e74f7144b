"""Which backend has which of a stack's images."""

from collections.abc import Callable, Iterator, Sequence

from ops.backends.backend import Backend
from ops.backends.caches import CachesBackend
from plan.images.reference import ImageReference
from plan.settings.stack import Settings


def backends_of(
    images: Sequence[ImageReference],
    stack: str,
    settings: Settings,
    with_secrets: Callable[[], Settings],
) -> Iterator[tuple[Backend, tuple[ImageReference, ...]]]:
    """The backends that these images belong to, the caches first, each with its images.

    Args:
        images: in the order in which each backend gets them; if none are given, all of the caches'.
        stack: whose images these are.
        settings: of the stack.
        with_secrets: gives the settings with decrypted secrets, for a backend that needs a login.
    """
    behind = {upstream.host for upstream in settings.behind_harbor}
    local = tuple(image for image in images if image.host not in behind)
    in_harbor = tuple(image for image in images if image.host in behind)
    if local or not images:
        yield CachesBackend(stack, settings), local
    if in_harbor:
        from ops.harbor.images import HarborBackend, access  # few stacks have one

        yield HarborBackend(access(with_secrets())), in_harbor
