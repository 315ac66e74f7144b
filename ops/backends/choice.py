"""Which backend holds which of a stack's images."""

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
    """The backends that hold these images, the caches first, and which of them each holds.

    Args:
        images: in the order that each backend gets them in; none: all that the caches hold.
        stack: whose.
        settings: of the stack.
        with_secrets: the same with the secrets opened, for a backend that asks for a login.
    """
    behind = {upstream.host for upstream in settings.behind_harbor}
    local = tuple(image for image in images if image.host not in behind)
    in_harbor = tuple(image for image in images if image.host in behind)
    if local or not images:
        yield CachesBackend(stack, settings), local
    if in_harbor:
        from ops.harbor.images import HarborBackend, access  # few stacks have one

        yield HarborBackend(access(with_secrets())), in_harbor
