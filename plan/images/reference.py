"""Image references as users write them in lists: checked, and completed.

The host is required, because it decides which mirror is used.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from plan.images import grammar
from plan.images.digest import is_digest
from plan.problems import ImageListError, Problem, cut
from plan.settings.upstreams import is_host
from plan.upstreams import DOCKER_IO_ALIASES

_REPOSITORY = re.compile(grammar.PATH)
_TAG = re.compile(grammar.TAG)
_PLATFORM = re.compile(r"([a-z0-9]+)/([a-z0-9]+)(?:/([a-z0-9]+))?")
_EXAMPLE = "docker.io/library/busybox:1.36"


@dataclass(frozen=True, kw_only=True, order=True)
class ImageReference:
    """One image: the upstream's host, a repository there, and a tag, a digest or both.

    With both, the digest decides what is pulled and the tag is only a name, as in containerd.
    """

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.host}/{self.repository}{tag}{digest}"

    @property
    def wanted(self) -> str:
        """The reference in requests to a registry: the digest if there is one, else the tag."""
        return self.digest or self.tag


@dataclass(frozen=True, kw_only=True)
class Platform:
    """What an image runs on: `linux/amd64`, `linux/arm/v7`."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass
class _Reading:
    hosts: Collection[str]
    images: dict[ImageReference, None] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def refuse(self, where: str, found: str, rule: str, fix: str) -> None:
        self.problems.append(Problem(namespace="", path=where, found=found, rule=rule, fix=fix))


def parse_list(text: str, source: str, hosts: Collection[str]) -> tuple[ImageReference, ...]:
    """Read a list: one image a line; empty lines and comments after a `#` are ignored.

    Args:
        text: the list.
        source: its name, for messages.
        hosts: upstreams that have a cache.

    Returns:
        Every image once, in the order of the list.

    Raises:
        ImageListError: with every mistake in the list; also if it is empty.
    """
    reading = _Reading(hosts)
    for number, line in enumerate(text.splitlines(), start=1):
        if entry := line.partition("#")[0].strip():
            _read(entry, f"{source}, line {number}", reading)
    if not reading.images and not reading.problems:
        reading.refuse(
            source,
            "no images",
            "a list has at least one image",
            f"write one image a line, such as {_EXAMPLE}",
        )
    if reading.problems:
        raise ImageListError(tuple(reading.problems))
    return tuple(reading.images)


def parse_platform(text: str) -> Platform:
    """Read `os/architecture` or `os/architecture/variant`.

    Raises:
        ImageListError: it is neither.
    """
    if not (match := _PLATFORM.fullmatch(text)):
        problem = Problem(
            namespace="",
            path="--platform",
            found=repr(text),
            rule="os/architecture, as Go names them",
            fix="write linux/amd64 or linux/arm64",
        )
        raise ImageListError((problem,))
    os, architecture, variant = match.groups(default="")
    return Platform(os=os, architecture=architecture, variant=variant)


def _read(entry: str, where: str, reading: _Reading) -> None:
    def refuse(rule: str, fix: str) -> None:
        reading.refuse(where, cut(repr(entry)), rule, fix)

    name, _, digest = entry.partition("@")
    host, slash, path = name.partition("/")
    if not slash or not (set(".:") & set(host) or host == "localhost"):
        return refuse("a reference starts with the registry's host", f"write it as in {_EXAMPLE}")
    if host.lower() in DOCKER_IO_ALIASES:
        return refuse(
            "clients know this registry only as docker.io", f"write docker.io instead of {host}"
        )
    if host != host.lower():
        return refuse("a registry's host is in lower case", f"write {cut(host.lower())}")
    repository, _, tag = path.partition(":")
    if host == "docker.io" and "/" not in repository:
        repository = f"library/{repository}"
    if not is_host(host) or not _REPOSITORY.fullmatch(repository):
        return refuse(
            "host, then path in lower-case letters, digits, '.', '_', '-' and '/'",
            f"write it as in {_EXAMPLE}",
        )
    if not tag and not digest:
        return refuse("a list names exact images", f"add a tag: {cut(name)}:TAG")
    if (":" in path and not _TAG.fullmatch(tag)) or ("@" in entry and not is_digest(digest)):
        return refuse(
            "a tag is up to 128 letters, digits, '.', '_', '-'; a digest sha256: and 64 hex digits",
            "correct its end",
        )
    if host not in reading.hosts:
        known = ", ".join(sorted(reading.hosts))
        return refuse(
            f"this stack has caches only for {known}",
            f"add {host} to 'upstreams' in the stack file, then run make up; or remove this image",
        )
    image = ImageReference(host=host, repository=repository, tag=tag, digest=digest)
    return reading.images.update({image: None})
