"""Checks of the user's own machine config patches, before talosctl runs.

A patch has one or several documents: the main one, which has no `kind`, and others that have one.
Source: siderolabs/talos, pkg/machinery/config/configloader, v1.11.5 and v1.13.0.
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

# Keys of the main document.
_MAIN = ("version", "debug", "persist", "machine", "cluster", "apiVersion")
_EXAMPLE = "{machine: {network: {hostname: one}}}"
_OPERATIONS = ("add", "replace", "remove")
# Keys with which users try to name a file.
_FILE_KEYS = ("file", "path")
NO_CNI = "none"


def problems(path: str, patch: str, file: str, mirrors: Sequence[Mirror]) -> list[Problem]:
    """What is wrong with a patch, including what the stack sets itself.

    Args:
        path: of the patch in the stack file.
        patch: its text.
        file: path of its file; empty if it is in the stack file itself.
        mirrors: of the stack.
    """
    if file:
        path += f" ({file})"
    try:
        documents = [each for each in engine_yaml.documents(patch) if each is not None]
    except NotYamlError as error:
        return [_problem(path, f"a patch must be YAML: {error}", _correct(file))]
    if not file and any(map(is_encrypted, documents)):
        return []  # checked once the engine has decrypted it
    if not documents:
        return [_problem(path, "a patch must not be empty", _correct(file))]
    checked = [_malformed(path, document, file) for document in documents]
    if malformed := [problem for problem in checked if problem]:
        return malformed
    return [*_doubled(path, documents, mirrors), *_configured_twice(path, documents, mirrors)]


def leaves_nodes_without_cni(patches: Sequence[str]) -> bool:
    """Whether these patches turn Flannel off without a replacement."""
    clusters = [part for patch in patches for part in map(_cluster, patch_documents(patch))]
    networks = [_mapping(_mapping(part, "network"), "cni") for part in clusters]
    others = [part for part in clusters if {"inlineManifests", "extraManifests"} & set(part)]
    return any(cni.get("name") == NO_CNI for cni in networks) and not others


def _malformed(path: str, document: Any, file: str) -> Problem | None:
    """Why Talos would not accept a document."""
    if operations := _operations(document):
        rule = (
            "a patch has the shape of the machine config: Talos refuses JSON patches (RFC 6902) "
            "for configs of several documents, as all are since 1.12"
        )
        shapes = [shape for operation in operations if (shape := _as_merge_patch(operation))]
        example = shapes[0] if shapes else _EXAMPLE
        return _problem(path, rule, f"write it as in {example}", found="a JSON patch")
    if not isinstance(document, Mapping):
        return _problem(
            path, "a patch is a mapping, or several documents that are mappings", _correct(file)
        )
    if document.get("kind"):
        return _malformed_kind(path, document)
    unknown = [text(key) for key in document if key not in _MAIN]
    if not unknown:
        return _malformed_part(path, document, file)
    rule = f"a patch without 'kind' has the keys of a machine config: {', '.join(_MAIN[:-1])}"
    file_path = next((document[key] for key in _FILE_KEYS if key in document), None)
    if set(document) <= set(_FILE_KEYS) and isinstance(file_path, str):
        return _problem(path, rule, f'to name a file, write "@{cut(file_path)}"')
    near = difflib.get_close_matches(unknown[0], _MAIN, n=1)
    fix = f"did you mean {near[0]}?" if near else f"write it as in {_EXAMPLE}"
    return _problem(path, rule, fix, found=f"the key {cut(unknown[0])}")


def _malformed_part(path: str, document: Mapping[str, Any], file: str) -> Problem | None:
    for key in ("machine", "cluster"):
        if not isinstance(document.get(key), (Mapping, type(None))):
            return _problem(path, f"'{key}' in a machine config is a mapping", _correct(file))
    return None


def _malformed_kind(path: str, document: Mapping[str, Any]) -> Problem | None:
    version = document.get("apiVersion")
    found = f"kind: {cut(text(document['kind']))}"
    if version is None and not {"machine", "cluster", "debug", "persist"} & set(document):
        rule = "a document with a kind must have an apiVersion too"
        return _problem(path, rule, "write apiVersion: v1alpha1 above it", found=found)
    if version == "v1" or "/" in text(version):
        rule = "a patch is for the machine config, but this is a Kubernetes manifest"
        fix = "put it into the contents of an entry of cluster.inlineManifests"
        return _problem(path, rule, fix, found=found)
    return None


def _operations(document: Any) -> list[Mapping[str, Any]]:
    """The operations of a JSON patch, even of one that is not in a list."""
    items = document if isinstance(document, list) else [document]
    operations = [item for item in items if isinstance(item, Mapping) and "op" in item]
    return operations if len(operations) == len(items) else []


def _as_merge_patch(operation: Mapping[str, Any]) -> str | None:
    """The shape of an equivalent patch; None for operations on lists, and moves."""
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
                "a registry has only one mirror entry: talosctl would join the endpoints of two",
                f"remove it from the patch; this stack sets the mirror of {mirror.host}",
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
                "this stack sets TLS and logins of its mirrors: an update would remove these",
                "remove it from the patch; see cache.tls, cacheLogin, harbor.ca and harborLogin",
                found=f"TLS or a login of {endpoint}",
            )


def _problem(path: str, rule: str, fix: str, found: str = MASK) -> Problem:
    return Problem(path=path, found=found, rule=rule, fix=fix)


def _correct(file: str) -> str:
    return f"correct {file}" if file else "correct it, or write @ before the path of a file"


def _cluster(document: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(document, "cluster")


def _mapping(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    child = value.get(key)
    return child if isinstance(child, Mapping) else {}
