"""The patches that bring the mirrors of a live node up to date with the stack.

They change only what this stack has set: entries that others have added to a node stay, and so do
endpoints that they have added to an entry.
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
    """A change of one entry: an existing one is deleted, then the new one is set.

    A changed entry must be deleted first because patches only add to the list of endpoints.

    Attributes:
        part: the kind of a document, or the part of `machine.registries`.
        name: the registry's host, for a mirror; else the endpoint's host and port.
        delete: whether the node has the entry.
        new: the new entry; None for none.
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
    """The patches that bring a node up to date, in the order to apply them; none if it is.

    Args:
        config: the documents of the node's machine config.
        wanted: the stack's mirrors.
        applied: host -> all endpoint URLs that this stack has set before, or may have.
        documents: whether the node reads RegistryMirrorConfig documents (from Talos 1.12 on).
    """
    current = document_entries(config) if documents else legacy_entries(config)
    mirrors = _changes(current, wanted, applied, documents=documents)
    names = _ours(current, mirrors, wanted, applied)
    changes = [*mirrors, *_config_changes(config, wanted, names, documents=documents)]
    # A missing entry must not be deleted: nodes up to 1.13 would keep the deletion itself as a
    # document, and older ones refuse it.
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
    changes = [
        _change(
            host, current.get(host), by_host.get(host), applied.get(host, ()), documents=documents
        )
        for host in (*by_host, *gone)
    ]
    return [change for change in changes if change is not None]


def _change(
    host: str,
    entry: Entry | None,
    mirror: Mirror | None,
    before: Collection[str],
    *,
    documents: bool,
) -> Change | None:
    ours = {mirror.url if mirror else None, *before}
    present = list(entry.get("endpoints") or []) if entry else []
    foreign = [endpoint for endpoint in present if endpoint_url(endpoint) not in ours]
    new = _entry(entry, mirror, foreign, documents=documents)
    if new == entry or (mirror is None and len(foreign) == len(present)):
        return None
    part = MIRROR_KIND if documents else LEGACY_MIRRORS
    return Change(part=part, name=host, delete=entry is not None, new=new)


def _ours(
    current: Mapping[str, Entry],
    changes: Iterable[Change],
    wanted: Sequence[Mirror],
    applied: Mapping[str, Collection[str]],
) -> set[str]:
    """The endpoints whose TLS and login this stack sets: its current and its former ones.

    A former one stays as it is while a mirror that is not the stack's own uses it.
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
    changes = []
    for part, new in _wanted_configs(wanted, documents=documents).items():
        old = _documents_of(config, part) if documents else _legacy_part(config, part)
        changes += [
            Change(part=part, name=name, delete=name in old, new=new.get(name))
            for name in sorted(names)
            if old.get(name) != new.get(name)
        ]
    return changes


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
    """The new entry: the stack's endpoint first, then those of others."""
    if mirror is None:
        return {**entry, "endpoints": foreign} if entry and foreign else None
    own = document(mirror) if documents else legacy_entry(mirror)
    return {**own, "endpoints": [*own["endpoints"], *foreign]}


def endpoint_url(endpoint: object) -> object:
    """The URL of an endpoint in an entry: a mapping with a URL, or the URL itself."""
    return endpoint.get("url") if isinstance(endpoint, Mapping) else endpoint


def _as_documents(entries: Iterable[tuple[str, str, Entry | None]]) -> str:
    documents = [
        dict(entry)
        if entry
        else {"apiVersion": API_VERSION, "kind": kind, "name": name, "$patch": "delete"}
        for kind, name, entry in entries
    ]
    return yaml.safe_dump_all(documents, sort_keys=False) if documents else ""


def _as_legacy(entries: Iterable[tuple[str, str, Entry | None]]) -> str:
    registries: dict[str, dict[str, Any]] = {}
    for part, name, entry in entries:
        registries.setdefault(part, {})[name] = dict(entry) if entry else {"$patch": "delete"}
    if not registries:
        return ""
    return yaml.safe_dump({"machine": {"registries": registries}}, sort_keys=False)
