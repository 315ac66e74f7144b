"""The user's own machine config patches: what talosctl would not take is told before it runs.

Talos reads a patch as one or several documents: its main one, which has no `kind`, and others that
have one. Source: siderolabs/talos, pkg/machinery/config/configloader, v1.11.5 and v1.13.0.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from plan import engine_yaml
from plan.engine_yaml import NotYamlError
from plan.problems import (
    MASK,
    Problem,
    cut,
    text,
)
from plan.settings.credentials import is_encrypted
from plan.talos.mirrors import (
    AUTH_KIND,
    MIRROR_KIND,
    TLS_KIND,
    Mirror,
    legacy_registries,
    patch_documents,
)

# Keys of the document without a kind.
_MAIN = ("version", "debug", "persist", "machine", "cluster", "apiVersion")
_EXAMPLE = "{machine: {network: {hostname: one}}}"
_OPERATIONS = ("add", "replace", "remove")
# What people write to name a file.
_FILE_KEYS = ("file", "path")
NO_CNI = "none"


def problems(path: str, patch: str, file: str, mirrors: Sequence[Mirror]) -> list[Problem]:
    """What is wrong with a patch, or speaks of what the stack sets itself.

    Args:
        path: of the patch in the stack file.
        patch: its text.
        file: that it comes from; may be empty.
        mirrors: of the stack.
    """
    if file:
        path += f" ({file})"
    try:
        documents = [found for found in engine_yaml.documents(patch) if found is not None]
    except NotYamlError as error:
        return [_problem(path, f"a patch is YAML: {error}", _correct(file))]
    if not file and any(map(is_encrypted, documents)):
        return []  # looked at when the engine has decrypted it
    if not documents:
        return [_problem(path, "a patch has something in it", _correct(file))]
    unread = [_unread(path, document, file) for document in documents]
    if any(unread):
        return [problem for problem in unread if problem]
    return [*_doubled(path, documents, mirrors), *_configured_twice(path, documents, mirrors)]


def leaves_nodes_without_cni(patches: Sequence[str]) -> bool:
    """Whether these patches switch Flannel off, and bring nothing in its place."""
    clusters = [found for patch in patches for found in map(_cluster, patch_documents(patch))]
    networks = [_mapping(_mapping(found, "network"), "cni") for found in clusters]
    brought = [found for found in clusters if {"inlineManifests", "extraManifests"} & set(found)]
    return any(cni.get("name") == NO_CNI for cni in networks) and not brought


def _unread(path: str, document: Any, file: str) -> Problem | None:
    """Why Talos would not take a document."""
    if operations := _operations(document):
        rule = (
            "no JSON patch (RFC 6902): Talos refuses it for a machine config of several documents, "
            "as all are since 1.12. A patch is the part of the machine config that it changes"
        )
        written = [shape for operation in operations if (shape := _as_merge_patch(operation))]
        example = written[0] if written else _EXAMPLE
        return _problem(path, rule, f"write it as in {example}", found="a JSON patch")
    if not isinstance(document, Mapping):
        return _problem(path, "a patch is a mapping, or several as documents", _correct(file))
    if document.get("kind"):
        return _unread_kind(path, document)
    strange = [text(key) for key in document if key not in _MAIN]
    if not strange:
        return _unread_part(path, document, file)
    rule = f"a patch without 'kind' has the keys of a machine config: {', '.join(_MAIN[:-1])}"
    named = next((document[key] for key in _FILE_KEYS if key in document), None)
    if set(document) <= set(_FILE_KEYS) and isinstance(named, str):
        return _problem(path, rule, f'a file stands behind an @: write "@{cut(named)}"')
    near = difflib.get_close_matches(strange[0], _MAIN, n=1)
    fix = f"did you mean {near[0]}?" if near else f"write it as in {_EXAMPLE}"
    return _problem(path, rule, fix, found=f"the key {cut(strange[0])}")


def _unread_part(path: str, document: Mapping[str, Any], file: str) -> Problem | None:
    for key in ("machine", "cluster"):
        if not isinstance(document.get(key), (Mapping, type(None))):
            return _problem(path, f"'{key}' in a machine config is a mapping", _correct(file))
    return None


def _unread_kind(path: str, document: Mapping[str, Any]) -> Problem | None:
    version = document.get("apiVersion")
    found = f"kind: {cut(text(document['kind']))}"
    if version is None and not {"machine", "cluster", "debug", "persist"} & set(document):
        rule = "a document with a kind has an apiVersion too"
        return _problem(path, rule, "write apiVersion: v1alpha1 above it", found=found)
    if version == "v1" or "/" in text(version):
        rule = "a patch is for the machine config, and this is a manifest for Kubernetes"
        fix = "write it as the contents of an entry of cluster.inlineManifests"
        return _problem(path, rule, fix, found=found)
    return None


def _operations(document: Any) -> list[Mapping[str, Any]]:
    """The operations of a JSON patch; also of one that was written without its list."""
    items = document if isinstance(document, list) else [document]
    found = [item for item in items if isinstance(item, Mapping) and "op" in item]
    return found if len(found) == len(items) else []


def _as_merge_patch(operation: Mapping[str, Any]) -> str | None:
    """The shape of the patch that does the same; None if lists or moves are in it."""
    parts = text(operation.get("path", "")).strip("/").split("/")
    if operation["op"] not in _OPERATIONS or not all(parts):
        return None
    if any(part.isdigit() or part == "-" for part in parts) or len(parts) > 8:
        return None
    leaf = "{$patch: delete}" if operation["op"] == "remove" else "..."
    names = [part.replace("~1", "/").replace("~0", "~") for part in parts]
    return cut("".join(f"{{{name}: " for name in names)) + leaf + "}" * len(names)


def _doubled(
    path: str, documents: Sequence[Mapping[str, Any]], mirrors: Sequence[Mirror]
) -> Iterator[Problem]:
    named = {str(doc.get("name")) for doc in documents if doc.get("kind") == MIRROR_KIND}
    mirrored = named.union(*(legacy_registries(document, "mirrors") for document in documents))
    for mirror in mirrors:
        if mirror.host in mirrored:
            yield _problem(
                path,
                "a registry has one mirror entry: talosctl would join the endpoints of two",
                f"take it out of the patch; the cache of {mirror.host} is set by this stack",
                found=f"a mirror of {mirror.host}",
            )


def _configured_twice(
    path: str, documents: Sequence[Mapping[str, Any]], mirrors: Sequence[Mirror]
) -> Iterator[Problem]:
    kinds = (TLS_KIND, AUTH_KIND)
    named = {str(doc.get("name")) for doc in documents if doc.get("kind") in kinds}
    configured = named.union(*(legacy_registries(document, "config") for document in documents))
    for endpoint in dict.fromkeys(mirror.endpoint for mirror in mirrors):
        if endpoint in configured:
            yield _problem(
                path,
                "this stack sets both where its mirrors lead: an update would take these away",
                "take it out of the patch; see cache.tls, cacheLogin, harbor.ca and harborLogin",
                found=f"TLS or a login of {endpoint}",
            )


def _problem(path: str, rule: str, fix: str, found: str = MASK) -> Problem:
    return Problem(path=path, found=found, rule=rule, fix=fix)


def _correct(file: str) -> str:
    return f"correct {file}" if file else "correct it, or write @ before a path"


def _cluster(document: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(document, "cluster")


def _mapping(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, Mapping) else {}
