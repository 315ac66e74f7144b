"""`repair`: finds blobs that are damaged or missing, and fetches them again.

The registry does not check what it serves: one damaged blob fails every pull of its image for ever.
Removing the blob from a running registry is not enough, because the registry remembers it. So the
cache is stopped meanwhile, and stays stopped if this is killed.

If content expires (`cache.ttl`), what no image needs any more is left alone. An image whose blobs
have expired with those of another repository is repaired: the registry would go on announcing them.
"""

import argparse
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass

import docker
from docker.errors import APIError

from host import progress_bar
from ops import waiting
from ops.backends.cache_filling import POLL_SECONDS, SETTLE_SECONDS
from ops.commands.arguments import add_json
from ops.commands.cache_restart import not_back, stopped
from ops.docker import api, volume_hashes
from ops.docker.volumes import Volumes, folder, opened
from ops.errors import OpsError
from ops.registry import fetch
from ops.stack import stack_secrets
from plan.caches.cache import Cache, of_settings
from plan.images.storage import DAMAGED, MISSING, Store, blob_folder

_NOT_STORED = "it was delivered, but not stored; the cache's log says why"
_STILL = "the blob in the volume is still damaged, or damaged again"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What has become of one blob that was damaged or missing.

    Attributes:
        problem: DAMAGED or MISSING.
        size: in bytes, of the file that was damaged.
        fetched: whether it was fetched again, and is undamaged in the volume now.
        why_not: why not; empty if it is, or if it was removed and no image needs it.
    """

    host: str
    digest: str
    problem: str
    size: int
    fetched: bool
    why_not: str


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The arguments of the command line."""

    stack: str
    as_json: bool


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_json(command)


def run(arguments: Arguments) -> int:
    """Replace damaged and missing blobs; exits with 1 if one could not be fetched again."""
    settings = stack_secrets.settings_of(arguments.stack)
    client = api.connect()
    with opened(client, of_settings(settings), writable=True) as volumes:
        stores = volumes.stores()
        everything = {host: store.blobs for host, store in stores.items()}
        missing = _missing(volumes, stores)
        damaged = {
            host: digests | missing[host]
            for host, digests in volume_hashes.damaged(volumes, stores, everything).items()
        }
        to_repair = [cache for cache in volumes.present if damaged[cache.host]]
        unavailable = {
            cache.host: _removed(
                client, volumes, cache, damaged[cache.host] - missing[cache.host], arguments.stack
            )
            for cache in to_repair
        }
        offline = "the stack is offline" if settings.offline else None
        reasons: dict[tuple[str, str], str | None] = {}
        # Their real sizes are not known: the files were damaged.
        with progress_bar.bar("fetching", None) as bar:
            for cache in to_repair:
                why_not = unavailable[cache.host] or offline
                for digest in sorted(damaged[cache.host]):
                    store = stores[cache.host]
                    why = _fetched(cache, store, digest, why_not, bar.update)
                    reasons[cache.host, digest] = why
        outcomes = _outcomes(volumes, stores, reasons)
        uploads = volumes.remove_uploads()
    print(_as_json(outcomes, uploads) if arguments.as_json else _report(outcomes, stores, uploads))
    return int(any(outcome.why_not for outcome in outcomes))


def _missing(volumes: Volumes, stores: Mapping[str, Store]) -> dict[str, frozenset[str]]:
    """Host -> blobs that are linked but not there, in two listings.

    Of a blob that is stored while a volume is listed, the link may show alone.
    """
    again = volumes.stores() if any(store.gone for store in stores.values()) else stores
    return {host: store.gone & again[host].gone for host, store in stores.items()}


def _removed(
    client: docker.DockerClient,
    volumes: Volumes,
    cache: Cache,
    digests: Collection[str],
    stack: str,
) -> str | None:
    """Stop a cache and remove blobs from it; returns why it can't fetch afterwards, or None.

    A restart also makes it forget blobs whose files are gone.
    """
    paths = [f"{folder(cache)}/{blob_folder(digest)}" for digest in sorted(digests)]
    try:
        with stopped(client, cache, stack) as ran:
            if paths:
                volumes.run("busybox", "rm", "-rf", *paths)
        return not_back(cache) if ran else "its cache is not running"
    except (OpsError, APIError) as error:
        return str(error)


def _fetched(
    cache: Cache, store: Store, digest: str, why_not: str | None, tell: Callable[[int], object]
) -> str | None:
    """Fetch a blob through the first repository that links it; the others have it then too.

    Returns:
        Why that failed; None if it did not, and if no image needs the blob.
    """
    manifest_of, layer_of = _needing(store, digest)
    if why_not or not (manifest_of or layer_of):
        return why_not
    registry = fetch.of_cache(cache)
    try:
        if manifest_of:
            fetch.manifest(registry, manifest_of[0], digest)
        else:
            fetch.blob(registry, layer_of[0], digest, tell)
    except fetch.FetchError as error:
        return str(error)
    return None


def _needing(store: Store, digest: str) -> tuple[list[str], list[str]]:
    """The repositories that link it as a manifest, and as a config or layer."""
    return (
        [name for name, links in store.repositories.items() if digest in links.revisions],
        [name for name, links in store.repositories.items() if digest in links.layers],
    )


def _outcomes(
    volumes: Volumes, stores: Mapping[str, Store], reasons: Mapping[tuple[str, str], str | None]
) -> list[Outcome]:
    """The outcome for every blob that was damaged or missing, by what is in the volumes now.

    Args:
        volumes: still open.
        stores: what was in them before.
        reasons: (host, digest) -> why it was not fetched, None if it was, for each of these blobs.
    """
    needed = {(host, digest) for host, digest in reasons if any(_needing(stores[host], digest))}
    after = _settled(volumes, {key for key in needed if not reasons[key]})
    digests: dict[str, set[str]] = {}
    for host, digest in reasons:
        digests.setdefault(host, set()).add(digest)
    damaged = volume_hashes.damaged(volumes, after, digests)
    outcomes = []
    for (host, digest), why_not in reasons.items():
        there = digest in after[host].blobs
        if there:
            why_not = _STILL if digest in damaged[host] else None
        elif (host, digest) in needed:
            why_not = why_not or _NOT_STORED
        else:
            why_not = None
        before = stores[host].blobs
        outcomes.append(
            Outcome(
                host=host,
                digest=digest,
                problem=DAMAGED if digest in before else MISSING,
                size=before.get(digest, 0),
                fetched=there and not why_not,
                why_not=why_not or "",
            )
        )
    return outcomes


def _settled(volumes: Volumes, wanted: Collection[tuple[str, str]]) -> dict[str, Store]:
    """What is in the volumes once they have these (host, digest), or when that takes too long."""
    return waiting.until(
        lambda stores: all(digest in stores[host].blobs for host, digest in wanted),
        volumes.stores,
        seconds=SETTLE_SECONDS,
        pause=POLL_SECONDS,
    )


def _report(outcomes: list[Outcome], stores: Mapping[str, Store], uploads: tuple[int, int]) -> str:
    lines = [f"{outcome.host}  {outcome.digest}  {_text(outcome)}" for outcome in outcomes]
    blobs = sum(len(store.blobs) for store in stores.values())
    missing = sum(outcome.problem == MISSING for outcome in outcomes)
    lines.append(f"{blobs} blobs hashed, {len(outcomes) - missing} damaged, {missing} missing")
    if uploads[0]:
        lines.append(
            f"{uploads[0]} unfinished downloads removed ({uploads[1]} bytes): not written to for "
            "an hour"
        )
    if any(outcome.why_not for outcome in outcomes):
        lines.append("to get what is still missing: pull the image again, or run warm or import")
    return "\n".join(lines)


def _text(outcome: Outcome) -> str:
    before = "its file was gone" if outcome.problem == MISSING else "removed"
    if outcome.fetched:
        return f"{before}, fetched again"
    if outcome.why_not == _STILL:
        return f"not repaired: {_STILL}"
    return (
        f"{before}, not fetched again: {outcome.why_not}"
        if outcome.why_not
        else "removed, no image needs it"
    )


def _as_json(outcomes: list[Outcome], uploads: tuple[int, int]) -> str:
    return json.dumps(
        {
            "whole": not any(outcome.why_not for outcome in outcomes),
            "damaged": [asdict(outcome) for outcome in outcomes],
            "unfinishedDownloads": {"removed": uploads[0], "bytes": uploads[1]},
        },
        indent=2,
    )
