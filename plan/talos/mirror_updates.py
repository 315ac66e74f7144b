"""What has to be patched on a live node so that its mirrors are those of the stack.

Only what this stack has set is ever changed: an entry, or an endpoint in an entry, that somebody
else has added to a node stays.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import yaml

from plan.talos.mirrors import (
    API_VERSION,
    AUTH_KIND,
    MIRROR_KIND,
    TLS_KIND,
    Mirror,
    auth_documents,
    document,
    legacy_configs,
    legacy_entry,
    legacy_registries,
    tls_documents,
)

# A node's own entry for one registry, in the form of its config: a document or a legacy entry.
Entry = Mapping[str, Any]
# The two parts of `machine.registries`.
LEGACY_MIRRORS = "mirrors"
LEGACY_CONFIG = "config"


@dataclass(frozen=True, kw_only=True)
class Change:
    """What happens to one entry: it is deleted where there is one, then set again.

    A patch can only add to the list of endpoints, which is why a changed entry goes first.

    Attributes:
        part: the kind of a document, or the part of `machine.registries`.
        name: a registry's host, for a mirror; else an endpoint's host and port.
        delete: whether the node has such an entry.
        new: what it gets; None for nothing.
    """

    part: str
    name: str
    delete: bool
    new: Entry | None


def patches(
    config: Sequence[Mapping[str, Any]],
    wanted: Sequence[Mirror],
    applied: Mapping[str, Collection[str]],
    *,
    documents: bool,
) -> tuple[str, ...]:
    """The patches that bring a node up to date, to be applied in this order; none if it is.

    Args:
        config: the documents of the node's machine config.
        wanted: the stack's mirrors.
        applied: host -> every endpoint URL that this stack has, or may have, set before.
        documents: whether the node reads RegistryMirrorConfig documents (from Talos 1.12 on).
    """
    current = document_entries(config) if documents else legacy_entries(config)
    mirrors = _changes(current, wanted, applied, documents=documents)
    names = _ours(current, mirrors, wanted, applied)
    changes = [*mirrors, *_config_changes(config, wanted, names, documents=documents)]
    # An entry that is not there must not be deleted: nodes up to 1.13 would keep the deletion
    # itself as a document, older ones refuse it.
    render = _as_documents if documents else _as_legacy
    steps = (
        render((change.part, change.name, None) for change in changes if change.delete),
        render((change.part, change.name, change.new) for change in changes if change.new),
    )
    return tuple(step for step in steps if step)


def document_entries(config: Sequence[Mapping[str, Any]]) -> dict[str, Entry]:
    """Host -> its entry among a node's documents."""
    return _documents_of(config, MIRROR_KIND)


def legacy_entries(config: Sequence[Mapping[str, Any]]) -> dict[str, Entry]:
    """Host -> its entry in `machine.registries`."""
    return _legacy_part(config, LEGACY_MIRRORS)


def _changes(
    current: Mapping[str, Entry],
    wanted: Sequence[Mirror],
    applied: Mapping[str, Collection[str]],
    *,
    documents: bool,
) -> list[Change]:
    by_host = {mirror.host: mirror for mirror in wanted}
    gone = [host for host in applied if host not in by_host]
    found = [
        _change(
            host, current.get(host), by_host.get(host), applied.get(host, ()), documents=documents
        )
        for host in (*by_host, *gone)
    ]
    return [change for change in found if change is not None]


def _change(
    host: str,
    entry: Entry | None,
    mirror: Mirror | None,
    before: Collection[str],
    *,
    documents: bool,
) -> Change | None:
    ours = {mirror.url if mirror else None, *before}
    there = list(entry.get("endpoints") or []) if entry else []
    foreign = [endpoint for endpoint in there if endpoint_url(endpoint) not in ours]
    new = _entry(entry, mirror, foreign, documents=documents)
    if new == entry or (mirror is None and len(foreign) == len(there)):
        return None
    part = MIRROR_KIND if documents else LEGACY_MIRRORS
    return Change(part=part, name=host, delete=entry is not None, new=new)


def _ours(
    current: Mapping[str, Entry],
    changes: Iterable[Change],
    wanted: Sequence[Mirror],
    applied: Mapping[str, Collection[str]],
) -> set[str]:
    """The endpoints whose TLS and login this stack decides on: its own, and those it leaves.

    One that it leaves stays as it is while a mirror of somebody else's uses it.
    """
    after = {**current, **{change.name: change.new or {} for change in changes}}
    used = {
        urlsplit(str(endpoint_url(endpoint))).netloc
        for entry in after.values()
        for endpoint in entry.get("endpoints") or ()
    }
    before = {urlsplit(url).netloc for urls in applied.values() for url in urls}
    return {mirror.endpoint for mirror in wanted} | (before - used)


def _config_changes(
    config: Sequence[Mapping[str, Any]],
    wanted: Sequence[Mirror],
    names: Collection[str],
    *,
    documents: bool,
) -> list[Change]:
    """Changes of TLS and logins of these endpoints."""
    found = []
    for part, new in _wanted_configs(wanted, documents=documents).items():
        old = _documents_of(config, part) if documents else _legacy_part(config, part)
        found += [
            Change(part=part, name=name, delete=name in old, new=new.get(name))
            for name in sorted(names)
            if old.get(name) != new.get(name)
        ]
    return found


def _wanted_configs(
    wanted: Sequence[Mirror], *, documents: bool
) -> dict[str, dict[str, dict[str, Any]]]:
    """Kind of document, or part of `machine.registries` -> endpoint -> its entry."""
    if documents:
        return {TLS_KIND: tls_documents(wanted), AUTH_KIND: auth_documents(wanted)}
    return {LEGACY_CONFIG: legacy_configs(wanted)}


def _documents_of(config: Sequence[Mapping[str, Any]], kind: str) -> dict[str, Entry]:
    return {str(doc["name"]): doc for doc in config if doc.get("kind") == kind}


def _legacy_part(config: Sequence[Mapping[str, Any]], part: str) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for doc in config:
        entries.update(legacy_registries(doc, part))
    return entries


def _entry(
    entry: Entry | None, mirror: Mirror | None, foreign: list[Any], *, documents: bool
) -> Entry | None:
    """The entry as it should be: the stack's endpoint first, then those of others."""
    if mirror is None:
        return {**entry, "endpoints": foreign} if entry and foreign else None
    own = document(mirror) if documents else legacy_entry(mirror)
    return {**own, "endpoints": [*own["endpoints"], *foreign]}


def endpoint_url(endpoint: object) -> object:
    """The URL of an endpoint as an entry has it: in a mapping, or by itself."""
    return endpoint.get("url") if isinstance(endpoint, Mapping) else endpoint


def _as_documents(entries: Iterable[tuple[str, str, Entry | None]]) -> str:
    made = [
        dict(entry)
        if entry
        else {"apiVersion": API_VERSION, "kind": kind, "name": name, "$patch": "delete"}
        for kind, name, entry in entries
    ]
    return yaml.safe_dump_all(made, sort_keys=False) if made else ""


def _as_legacy(entries: Iterable[tuple[str, str, Entry | None]]) -> str:
    made: dict[str, dict[str, Any]] = {}
    for part, name, entry in entries:
        made.setdefault(part, {})[name] = dict(entry) if entry else {"$patch": "delete"}
    if not made:
        return ""
    return yaml.safe_dump({"machine": {"registries": made}}, sort_keys=False)
