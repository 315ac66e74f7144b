"""What a Harbor holds of images, by what its API lists: asking for an image would fetch it."""

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
# From when all that belongs to an image is there: what has no tag by then never gets it.
TAG_SECONDS = 90
POLL_SECONDS = 5.0


class Held:
    """What one Harbor lists.

    Args:
        harbor: asked as somebody who may read the projects.
        project: upstream's host -> name of its proxy cache.
        platform: which entry of an index is wanted.
    """

    def __init__(self, harbor: Client, project: Callable[[str], str], platform: Platform) -> None:
        self._harbor = harbor
        self._project = project
        self._platform = platform

    def of(self, image: ImageReference) -> Result:
        """What an image lacks.

        Raises:
            HarborError: Harbor can't be asked.
        """
        artifact = self._artifact(image, image.wanted)
        child, found = None, artifact
        while found is not None and artifacts.is_index(found):  # one may lie in another
            child = artifacts.child_digest(found, self._platform)
            found = self._artifact(image, child) if child else None
        size = artifacts.size(found)
        faults = artifacts.faults(image, artifact, child, found)
        advice = self._other_digest(image) if artifact is None and image.digest else ""
        return Result(image=image, size=size, faults=faults, advice=advice)

    def has(self, image: ImageReference, digest: str) -> bool:
        """Whether an image's repository has this manifest or index, and all that belongs to it.

        Raises:
            HarborError: Harbor can't be asked.
        """
        return self._artifact(image, digest) is not None

    def settled(
        self,
        delivered: Mapping[ImageReference, Delivered],
        tell: Callable[[str], object],
        seconds: float,
    ) -> tuple[Result, ...]:
        """What each image lacks after a pull: waits for what Harbor stores later.

        Args:
            delivered: what came of each image.
            tell: told what is awaited, whenever that is something else.
            seconds: how long to wait at most, for all of them together. A Harbor that can't be
                asked meanwhile is asked again until then.
        """
        results: dict[ImageReference, Result] = {}
        awaited = {image: _Awaited(what) for image, what in delivered.items()}
        deadline = time.monotonic() + seconds
        told = ""
        while awaited:
            for image, waiting in tuple(awaited.items()):
                late = time.monotonic() > deadline
                results[image] = self._looked_at(image, waiting, seconds, late=late)
                if not results[image].faults or results[image].advice:
                    del awaited[image]
            if awaited:
                if (line := artifacts.awaited(awaited, seconds)) != told:
                    tell(told := line)
                time.sleep(min(POLL_SECONDS, seconds))
        return tuple(results[image] for image in delivered)

    def _looked_at(
        self, image: ImageReference, waiting: "_Awaited", seconds: float, *, late: bool
    ) -> Result:
        """What an image lacks; with advice where it is not to be waited for any longer."""
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
        return self._harbor.found(f"{path}/artifacts/{quote(reference, safe='')}")


class _Awaited:
    """An image that came, and which of its manifests Harbor has not stored yet."""

    def __init__(self, delivered: Delivered) -> None:
        self.delivered = delivered
        self._missing = delivered.platforms
        self._whole_since = 0.0

    def look(self, has: Callable[[str], bool]) -> None:
        self._missing = tuple(digest for digest in self._missing if not has(digest))
        if not self._missing and not self._whole_since:
            self._whole_since = time.monotonic()

    def is_stuck(self) -> bool:
        """Whether Harbor would have set the tag by now, if it ever did. Only an index has that."""
        whole = bool(self.delivered.platforms) and not self._missing
        return whole and time.monotonic() > self._whole_since + TAG_SECONDS
