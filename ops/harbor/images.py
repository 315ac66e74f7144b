"""Images of upstreams behind Harbor: whether it holds them, and having it hold them."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

from host import progress_bar
from ops.backends.backend import GO_ON, Status, listed, not_complete
from ops.harbor import pull
from ops.harbor.client import Client
from ops.harbor.held import SETTLE_SECONDS, Held
from ops.registry.fetch import Source
from ops.stack import stack_files
from plan.images.completeness import Result
from plan.images.reference import ImageReference, Platform
from plan.settings.harbor import HarborSettings
from plan.settings.stack import Settings


@dataclass(frozen=True, kw_only=True)
class Access:
    """A stack's Harbor, and who asks it."""

    harbor: HarborSettings
    ca_pem: str
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class Filled:
    """What filling Harbor did.

    Attributes:
        results: of every image, in the end.
        complete_before: how many needed nothing.
        transferred: bytes that Harbor got, once each.
        seconds: that it took.
        said: image -> why it did not come.
    """

    results: tuple[Result, ...]
    complete_before: int
    transferred: int
    seconds: float
    said: Mapping[ImageReference, str]

    @property
    def failures(self) -> tuple[tuple[ImageReference, tuple[str, ...]], ...]:
        """(Image, reasons) of those that Harbor does not hold whole."""
        return tuple(
            (one.image, (self.said.get(one.image, one.advice),))
            for one in self.results
            if one.faults
        )

    @property
    def is_complete(self) -> bool:
        """Whether Harbor holds every image now."""
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
    """How to ask the Harbor of a stack, whose settings are those of `secret_settings`."""
    harbor = settings.harbor
    assert harbor is not None  # noqa: S101 - an upstream behind it needs one (plan/settings/stack.py)
    who = harbor.admin or harbor.login
    texts = stack_files.named_files(settings)
    return Access(
        harbor=harbor,
        ca_pem=texts.get(harbor.ca_file, ""),
        username=who.username if who else "",
        password=who.password if who else "",
    )


@dataclass(frozen=True)
class HarborBackend:
    """See `Backend`."""

    asked: Access
    name: str = "harbor"

    def status(self, images: Sequence[ImageReference], platform: Platform, *, deep: bool) -> Status:
        """What Harbor lists; nothing is pulled, so that content is not hashed.

        Raises:
            HarborError: it can't be asked.
        """
        del deep
        with _client(self.asked) as client:
            held = Held(client, self.asked.harbor.project, platform)
            return Status(results=tuple(held.of(image) for image in images))

    def fill(self, images: Sequence[ImageReference], platform: Platform, parallel: int) -> Filled:
        """Have Harbor fetch what it lacks of these images.

        Raises:
            HarborError: it can't be asked.
        """
        started = time.monotonic()
        with _client(self.asked) as client, ExitStack() as opened:
            held = Held(client, self.asked.harbor.project, platform)
            before = tuple(held.of(image) for image in images)
            missing = [one.image for one in before if one.faults]
            registries = {
                host: opened.enter_context(closing(_registry(self.asked, host)))
                for host in {image.host for image in missing}
            }
            with progress_bar.bar("filling Harbor", None) as bar:
                pulled = pull.pull(registries, missing, platform, parallel, held.has, bar.update)
            after = held.settled(pulled.delivered, progress_bar.tell, SETTLE_SECONDS)
        results = {one.image: one for one in (*before, *after)}
        return Filled(
            results=tuple(results[image] for image in images),
            complete_before=len(images) - len(missing),
            transferred=pulled.transferred,
            seconds=time.monotonic() - started,
            said=pulled.said,
        )


def _client(asked: Access) -> Client:
    return Client(asked.harbor.url, asked.username, asked.password, asked.ca_pem)


def _registry(asked: Access, host: str) -> Source:
    project = asked.harbor.project(host)
    return pull.source(asked.harbor.url, project, asked.username, asked.password, asked.ca_pem)
