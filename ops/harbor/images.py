"""Images of upstreams behind Harbor: whether it holds them, and having it hold them."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ops import progress, stack_files
from ops.harbor import held, pull
from ops.harbor.client import Client
from ops.verify import Result
from plan.harbor_settings import HarborSettings
from plan.images import ImageReference, Platform
from plan.settings import Settings
from plan.warming import reasons


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
        transferred: bytes that Harbor sent here.
        seconds: that it took.
        said: image -> why it did not come.
    """

    results: tuple[Result, ...]
    complete_before: int
    transferred: int
    seconds: float
    said: dict[ImageReference, str]

    @property
    def failures(self) -> tuple[tuple[ImageReference, tuple[str, ...]], ...]:
        """(Image, reasons) of those that Harbor does not hold whole."""
        return tuple(
            (one.image, (self.said[one.image],) if one.image in self.said else _words(one))
            for one in self.results
            if one.faults
        )


def access(settings: Settings) -> Access:
    """How to ask the Harbor of a stack, whose settings are those of `secret_settings`."""
    harbor = settings.harbor
    assert harbor is not None  # noqa: S101 - an upstream behind it needs one (plan/settings.py)
    who = harbor.admin or harbor.login
    texts = stack_files.named_files(settings)
    return Access(
        harbor=harbor,
        ca_pem=texts.get(harbor.ca_file, ""),
        username=who.username if who else "",
        password=who.password if who else "",
    )


def verify(
    asked: Access, images: Sequence[ImageReference], platform: Platform
) -> tuple[Result, ...]:
    """What Harbor lacks of each image, by what its API lists; nothing is pulled.

    Raises:
        HarborError: it can't be asked.
    """
    return _each(
        asked, images, lambda client, project, some: held.held(client, project, some, platform)
    )


def warm(
    asked: Access, images: Sequence[ImageReference], platform: Platform, parallel: int
) -> Filled:
    """Have Harbor fetch what it lacks of these images.

    Raises:
        HarborError: it can't be asked.
    """
    started = time.monotonic()
    before = verify(asked, images, platform)
    missing = [one.image for one in before if one.faults]
    transferred = 0
    said: dict[ImageReference, str] = {}
    with progress.bar("filling Harbor", None) as bar:
        for host, some in _by_host(missing):
            project = asked.harbor.project(host)
            source = pull.source(
                asked.harbor.url, project, asked.username, asked.password, asked.ca_pem
            )
            pulled = pull.pull(source, some, platform, parallel, bar.update)
            transferred += pulled.transferred
            said |= pulled.said
    came = [image for image in missing if image not in said]

    def wait(client: Client, project: str, some: Sequence[ImageReference]) -> tuple[Result, ...]:
        return held.settled(client, project, some, platform)

    after = {one.image: one for one in _each(asked, came, wait)}
    return Filled(
        results=tuple(after.get(one.image, one) for one in before),
        complete_before=len(images) - len(missing),
        transferred=transferred,
        seconds=time.monotonic() - started,
        said=said,
    )


def _each(
    asked: Access,
    images: Sequence[ImageReference],
    look: Callable[[Client, str, Sequence[ImageReference]], tuple[Result, ...]],
) -> tuple[Result, ...]:
    """What is found of each image, in their order."""
    found: dict[ImageReference, Result] = {}
    with Client(asked.harbor.url, asked.username, asked.password, asked.ca_pem) as client:
        for host, some in _by_host(images):
            for result in look(client, asked.harbor.project(host), some):
                found[result.image] = result
    return tuple(found[image] for image in images)


def _by_host(
    images: Sequence[ImageReference],
) -> Iterator[tuple[str, tuple[ImageReference, ...]]]:
    for host in dict.fromkeys(image.host for image in images):
        yield host, tuple(image for image in images if image.host == host)


def _words(result: Result) -> tuple[str, ...]:
    return reasons(result.image, result.faults, {})
