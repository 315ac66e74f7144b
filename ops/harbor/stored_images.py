"""Which images Harbor has stored, as its API lists them: requesting an image would fetch it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from ops.harbor.client import Client, HarborError
from ops.harbor.command import repository_path
from plan.harbor import artifacts
from plan.harbor.artifacts import Delivered
from plan.images.completeness import Result
from plan.images.reference import ImageReference, Platform

# Harbor stores a manifest 20 s after it has sent it, and an index as soon as the manifests of all
# its platforms are there, or after 400 s with those that are; the tag 10 s later.
SETTLE_SECONDS = 480
# After everything else of an image is stored: if it has no tag by then, it never gets one.
TAG_SECONDS = 90
POLL_SECONDS = 5.0


class StoredImages:
    """The images that one Harbor lists.

    Args:
        harbor: logged in as a user who may read the projects.
        project: upstream's host -> name of its proxy cache.
        platform: which entry of an index is wanted.
    """

    def __init__(self, harbor: Client, project: Callable[[str], str], platform: Platform) -> None:
        self._harbor = harbor
        self._project = project
        self._platform = platform

    def of(self, image: ImageReference) -> Result:
        """What is missing of an image.

        Raises:
            HarborError: the request failed.
        """
        artifact = self._artifact(image, image.wanted)
        child, manifest = None, artifact
        while manifest is not None and artifacts.is_index(manifest):  # an index may list another
            child = artifacts.child_digest(manifest, self._platform)
            manifest = self._artifact(image, child) if child else None
        size = artifacts.size(manifest)
        faults = artifacts.faults(image, artifact, child, manifest)
        advice = self._other_digest(image) if artifact is None and image.digest else ""
        return Result(image=image, size=size, faults=faults, advice=advice)

    def has(self, image: ImageReference, digest: str) -> bool:
        """Whether an image's repository has this manifest or index, and all that belongs to it.

        Raises:
            HarborError: the request failed.
        """
        return self._artifact(image, digest) is not None

    def wait_until_stored(
        self,
        delivered: Mapping[ImageReference, Delivered],
        tell: Callable[[str], object],
        seconds: float,
    ) -> tuple[Result, ...]:
        """What is missing of each image after a pull, once Harbor has stored what it stores later.

        Args:
            delivered: what Harbor delivered of each image.
            tell: called with what is awaited, whenever that changes.
            seconds: how long to wait at most, for all of them together. Requests that fail
                meanwhile are repeated until then.
        """
        results: dict[ImageReference, Result] = {}
        awaited = {image: _Awaited(what) for image, what in delivered.items()}
        deadline = time.monotonic() + seconds
        last = ""
        while awaited:
            for image, waiting in tuple(awaited.items()):
                late = time.monotonic() > deadline
                results[image] = self._checked(image, waiting, seconds, late=late)
                if not results[image].faults or results[image].advice:
                    del awaited[image]
            if awaited:
                if (line := artifacts.awaited(awaited, seconds)) != last:
                    tell(last := line)
                time.sleep(min(POLL_SECONDS, seconds))
        return tuple(results[image] for image in delivered)

    def _checked(
        self, image: ImageReference, waiting: "_Awaited", seconds: float, *, late: bool
    ) -> Result:
        """What is missing of an image; with advice if there is no point in waiting any longer."""
        try:
            result = replace(self.of(image), advice="")
            if not result.faults:
                return result
            waiting.look(lambda digest: self.has(image, digest))
        except HarborError as error:
            advice = artifacts.not_known(str(error)) if late else ""
            faults = artifacts.faults(image, None, None, None)
            return Result(image=image, size=0, faults=faults, advice=advice)
        if waiting.is_stuck():
            repository = f"{self._project(image.host)}/{image.repository}"
            advice = artifacts.never_stored(
                image, waiting.delivered, self._platform, repository, result.faults
            )
        elif late:
            advice = artifacts.not_stored(result.faults, waiting.delivered, seconds)
        else:
            advice = ""
        return replace(result, advice=advice)

    def _other_digest(self, image: ImageReference) -> str:
        tagged = self._artifact(image, image.tag) if image.tag else None
        return artifacts.other_digest(tagged, self._platform)

    def _artifact(self, image: ImageReference, reference: str) -> Any | None:
        path = repository_path(self._project(image.host), image.repository)
        return self._harbor.find(f"{path}/artifacts/{quote(reference, safe='')}")


class _Awaited:
    """A delivered image, and which of its manifests Harbor has not stored yet."""

    def __init__(self, delivered: Delivered) -> None:
        self.delivered = delivered
        self._missing = delivered.platforms
        self._complete_since = 0.0

    def look(self, has: Callable[[str], bool]) -> None:
        self._missing = tuple(digest for digest in self._missing if not has(digest))
        if not self._missing and not self._complete_since:
            self._complete_since = time.monotonic()

    def is_stuck(self) -> bool:
        """Whether Harbor will never set the tag, as it would have by now. Only for an index."""
        complete = bool(self.delivered.platforms) and not self._missing
        return complete and time.monotonic() > self._complete_since + TAG_SECONDS
