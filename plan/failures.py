"""From the engine's events of a failed run to the message at its end.

The engine prints everything as it happens: every resource's error, the same error for each resource
that it affects, and then all outputs. Users look at the last lines: these say once what failed, and
what to do.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SHOWN_NAMES = 3
# Of a long text, such as a command's output: the start, and the end, which says why.
FIRST_LINES = 2
LAST_LINES = 10
# In the URN of the caches' image; node images are pulled by commands of this project.
IMAGE = "docker:index/remoteImage:RemoteImage::"
# What the engine and the language host add after an error.
NOISE = re.compile(
    r"(update|preview|destroy|refresh) (failed|canceled)"
    r"|an unhandled error occurred: program exited with non-zero exit code: \d+"
)
# How the engine marks colours in its events if it writes to a terminal.
COLOUR = re.compile(r"<\{%.*?%\}>")
# What the official provider wraps an error in: once as a log line, once as a list of one.
WRAPPED = re.compile(
    r"^(sdk-v2/provider2?\.go:\d+: sdk\.helper_schema: "
    r"|\d+ errors? occurred:\s*\*\s*"
    r"|(creating|updating|deleting|refreshing|reading) urn:\S+: "
    r"|(Preview|Update|Refresh|Destroy) failed: )"
    r"|: provider=docker@\S+$"
)


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """What to do about an error that matches `signs`; {again}: the command line to repeat."""

    signs: re.Pattern[str]
    text: str


REMEDIES = (
    Remedy(
        signs=re.compile(
            r"(?i)permission denied while trying to connect to the docker"
            r"|docker\.sock.*permission denied|dial unix \S+: connect: permission denied"
        ),
        text="You are not allowed to use Docker: join the group docker (sudo usermod -aG docker "
        "$USER, then log in again), then: {again}",
    ),
    Remedy(
        signs=re.compile(
            r"(?i)cannot connect to the docker daemon|docker can't be reached|docker\.sock"
            r"|error during connect|failed to connect to any docker daemon"
        ),
        text="Docker does not answer. Start it, then: {again}",
    ),
    Remedy(
        signs=re.compile(r"(?i)port is already allocated|address already in use"),
        text="Another program took a port during this run. The next run names it: {again}",
    ),
    Remedy(
        signs=re.compile(r"(?i)no space left on device"),
        text="The disk is full. Free some space (make prune, docker system prune), then: {again}",
    ),
    Remedy(
        signs=re.compile(r"required flash image was not found"),
        text="The UEFI firmware for machines on QEMU is missing. Install it (Debian and Ubuntu: "
        "sudo apt-get install ovmf, on aarch64 qemu-efi-aarch64), then: {again}",
    ),
    Remedy(
        signs=re.compile(r"(?i)toomanyrequests|too many requests|rate limit"),
        text="This address has reached the registry's pull limit. Log in (docker login) and docker "
        "pull the image, or wait; then: {again}",
    ),
)
OF_THE_IMAGE = Remedy(
    signs=re.compile(
        r"(?i)can't pull the image|unable to (read|pull) .*image|error pulling image"
        r"|manifest unknown|pull access denied"
    ),
    text="Check talos-cache:cache.image and the connection to its registry, or fetch the image "
    "yourself (docker pull, docker load); then: {again}",
)
OTHERWISE = "What was done is kept. Once the cause is fixed, continue with: {again}"


@dataclass(frozen=True)
class Failure:
    """An error, and the logical names of all resources that it affects; none if the program failed.

    `of_image` says whether one of them is the caches' image.
    """

    text: str
    names: tuple[str, ...]
    of_image: bool = False


def report(
    command: str, again: str, events: Iterable[Mapping[str, Any]], *, interrupted: bool
) -> str:
    """The message at the end of a failed run.

    Args:
        command: as the user knows it.
        again: the command line that repeats it.
        events: of the engine's event log.
        interrupted: whether the user stopped it.
    """
    failures = found(events)
    outcome = "was interrupted" if interrupted else "failed"
    if not failures and not interrupted:
        return f"{command} {outcome}: the last lines above say why."
    lines = [f"{command} {outcome}:", *(_shown(failure) for failure in failures)]
    advice = [_remedy(failure) for failure in failures if failure.names]
    if interrupted:
        advice = [OTHERWISE]
    return "\n".join([*lines, *(text.format(again=again) for text in dict.fromkeys(advice))])


def found(events: Iterable[Mapping[str, Any]]) -> tuple[Failure, ...]:
    """Every error once, in the order of events."""
    affected: dict[str, list[str]] = {}
    for event in events:
        diagnostic = event.get("diagnosticEvent") or {}
        text = _plain(diagnostic.get("message", ""))
        if diagnostic.get("severity") == "error" and not NOISE.fullmatch(text):
            affected.setdefault(text, []).append(diagnostic.get("urn", ""))
    return tuple(_failure(text, urns) for text, urns in affected.items())


def _failure(text: str, urns: Iterable[str]) -> Failure:
    names = tuple(dict.fromkeys(name for urn in urns if (name := _name(urn))))
    return Failure(text, names, of_image=any(IMAGE in urn for urn in urns))


def _plain(message: str) -> str:
    """The error itself, without its wrappers."""
    text = COLOUR.sub("", message).strip()
    while (bare := WRAPPED.sub("", text).strip()) != text:
        text = bare
    return text


def _name(urn: str) -> str | None:
    """The logical name of a resource; None for the stack itself."""
    if "::pulumi:pulumi:Stack::" in urn:
        return None
    return urn.split("::")[-1]


def _shown(failure: Failure) -> str:
    if not failure.names:  # the program's own message, which says what to do
        return failure.text
    shown = ", ".join(failure.names[:SHOWN_NAMES])
    more = len(failure.names) - SHOWN_NAMES
    resources = f"{shown} and {more} more" if more > 0 else shown
    return f"  {resources}: {_cut(failure.text)}"


def _cut(text: str) -> str:
    lines = text.splitlines()
    left_out = len(lines) - FIRST_LINES - LAST_LINES
    if left_out > 0:
        note = f"... ({left_out} more lines above)"
        lines = [*lines[:FIRST_LINES], note, *lines[-LAST_LINES:]]
    return "\n    ".join(lines)


def _remedy(failure: Failure) -> str:
    remedies = (*REMEDIES, OF_THE_IMAGE) if failure.of_image else REMEDIES
    matching = (remedy.text for remedy in remedies if remedy.signs.search(failure.text))
    return next(matching, OTHERWISE)
