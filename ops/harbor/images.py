"""Images of upstreams behind Harbor: whether it has them, and having it fetch them."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

from host import progress_bar
from ops.backends.backend import GO_ON, Status, listed, not_complete
from ops.harbor import pull
from ops.harbor.client import Client
from ops.harbor.stored_images import SETTLE_SECONDS, StoredImages
from ops.registry.fetch import Source
from ops.stack import stack_files
from plan.images.completeness import Result
from plan.images.reference import ImageReference, Platform
from plan.settings.harbor import HarborSettings
from plan.settings.stack import Settings


@dataclass(frozen=True, kw_only=True)
class Access:
    """A stack's Harbor, and the login for it."""

    harbor: HarborSettings
    ca_pem: str
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class Filled:
    """The result of filling Harbor.

    Attributes:
        results: of every image, in the end.
        complete_before: how many needed nothing.
        transferred: bytes that Harbor fetched, each blob counted once.
        seconds: that it took.
        said: image -> why it was not delivered.
    """

    results: tuple[Result, ...]
    complete_before: int
    transferred: int
    seconds: float
    said: Mapping[ImageReference, str]

    @property
    def failures(self) -> tuple[tuple[ImageReference, tuple[str, ...]], ...]:
        """(Image, reasons) of those that are not complete in Harbor."""
        return tuple(
            (one.image, (self.said.get(one.image, one.advice),))
            for one in self.results
            if one.faults
        )

    @property
    def is_complete(self) -> bool:
        """Whether Harbor has every image now."""
        return not self.failures

    def as_text(self) -> str:
        """For people: what is not complete, why, and what to do."""
        lines = not_complete(self.failures)
        lines.append(
            f"behind Harbor, {len(self.results)} images: {self.complete_before} complete before, "
            f"{len(self.failures)} failed; {self.seconds:.1f} s, "
            f"{self.transferred / 1e6:.1f} MB fetched by it"
        )
        if self.said:
            lines.append(GO_ON)
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """The same as one JSON object."""
        return {
            "complete": not self.failures,
            "images": len(self.results),
            "completeBefore": self.complete_before,
            "transferredBytes": self.transferred,
            "seconds": round(self.seconds, 3),
            "notComplete": listed(self.failures),
        }


def access(settings: Settings) -> Access:
    """How to reach the Harbor of a stack, whose settings are those of `stack_secrets`."""
    harbor = settings.harbor
    assert harbor is not None  # noqa: S101 - an upstream behind it needs one (plan/settings/stack.py)
    login = harbor.admin or harbor.login
    texts = stack_files.named_files(settings)
    return Access(
        harbor=harbor,
        ca_pem=texts.get(harbor.ca_file, ""),
        username=login.username if login else "",
        password=login.password if login else "",
    )


@dataclass(frozen=True)
class HarborBackend:
    """See `Backend`."""

    server: Access
    name: str = "harbor"

    def status(self, images: Sequence[ImageReference], platform: Platform, *, deep: bool) -> Status:
        """What Harbor lists; nothing is pulled, so content is not hashed.

        Raises:
            HarborError: a request failed.
        """
        del deep
        with _client(self.server) as client:
            stored = StoredImages(client, self.server.harbor.project, platform)
            return Status(results=tuple(stored.of(image) for image in images))

    def fill(self, images: Sequence[ImageReference], platform: Platform, parallel: int) -> Filled:
        """Have Harbor fetch what is missing of these images.

        Raises:
            HarborError: a request failed.
        """
        started = time.monotonic()
        with _client(self.server) as client, ExitStack() as opened:
            stored = StoredImages(client, self.server.harbor.project, platform)
            before = tuple(stored.of(image) for image in images)
            missing = [one.image for one in before if one.faults]
            registries = {
                host: opened.enter_context(closing(_registry(self.server, host)))
                for host in {image.host for image in missing}
            }
            with progress_bar.bar("filling Harbor", None) as bar:
                pulled = pull.pull(registries, missing, platform, parallel, stored.has, bar.update)
            after = stored.wait_until_stored(pulled.delivered, progress_bar.tell, SETTLE_SECONDS)
        results = {one.image: one for one in (*before, *after)}
        return Filled(
            results=tuple(results[image] for image in images),
            complete_before=len(images) - len(missing),
            transferred=pulled.transferred,
            seconds=time.monotonic() - started,
            said=pulled.said,
        )


def _client(server: Access) -> Client:
    return Client(server.harbor.url, server.username, server.password, server.ca_pem)


def _registry(server: Access, host: str) -> Source:
    project = server.harbor.project(host)
    return pull.source(server.harbor.url, project, server.username, server.password, server.ca_pem)
