"""What a Harbor holds of images, by what its API lists: asking for an image would fetch it."""

import time
from collections.abc import Iterable
from urllib.parse import quote

from ops.harbor.client import Client
from ops.harbor.work import repository_path
from ops.verify import Result
from plan import harbor_images
from plan.images import ImageReference, Platform

# Harbor stores a manifest 20 s after it has sent it, and an index as soon as the manifests of all
# its platforms are there, or after 400 s with those that are.
SETTLE_SECONDS = 480
POLL_SECONDS = 5.0


def held(
    harbor: Client, project: str, images: Iterable[ImageReference], platform: Platform
) -> tuple[Result, ...]:
    """What each image lacks in a project, in the order of the list.

    Args:
        harbor: asked as somebody who may read the project.
        project: name of the proxy cache of the images' upstream.
        images: all of that upstream.
        platform: which entry of an index is wanted.

    Raises:
        HarborError: it can't be asked.
    """
    return tuple(_held(harbor, project, image, platform) for image in images)


def settled(
    harbor: Client,
    project: str,
    images: Iterable[ImageReference],
    platform: Platform,
    seconds: float = SETTLE_SECONDS,
) -> tuple[Result, ...]:
    """The same after a pull: waits for what Harbor stores later, for so many seconds at most."""
    wanted = tuple(images)
    deadline = time.monotonic() + seconds
    while True:
        results = held(harbor, project, wanted, platform)
        if not any(one.faults for one in results) or time.monotonic() > deadline:
            return results
        time.sleep(min(POLL_SECONDS, seconds))


def _held(harbor: Client, project: str, image: ImageReference, platform: Platform) -> Result:
    path = f"{repository_path(project, image.repository)}/artifacts"
    artifact = harbor.found(f"{path}/{quote(image.wanted, safe='')}")
    child = entry = None
    if artifact is not None and harbor_images.is_index(artifact):
        child = harbor_images.child_digest(artifact, platform)
        entry = harbor.found(f"{path}/{quote(child, safe='')}") if child else None
        size = harbor_images.size(entry)
    else:
        size = harbor_images.size(artifact)
    faults = harbor_images.faults(image, artifact, child, entry)
    return Result(image=image, size=size, faults=faults)
