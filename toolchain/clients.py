"""Registry clients that the demo and the tests pull with."""

import shutil

from toolchain import debian


def ensure_skopeo() -> None:
    """Make sure that skopeo is there."""
    if shutil.which("skopeo") is None:
        debian.install(
            ("skopeo",), "the command 'skopeo', which pulls through the caches, is missing"
        )
