"""Manifests and indexes: what they refer to, and their entries by platform.

Formats: the OCI image specification v1.1, and Docker's image manifest version 2, schema 2.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from host.errors import TalosCacheError
from plan import foreign_json
from plan.images.digest import digest_of
from plan.images.reference import Platform

INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
# The most that distribution accepts: anything larger is not a manifest and need not be read.
MANIFEST_BYTES = 4 * 1024 * 1024
# Layers to be downloaded from URLs in the manifest; registries don't serve them.
_FOREIGN = ("foreign", "nondistributable")


class ManifestError(TalosCacheError):
    """The content is not a manifest that a current registry stores."""


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """What a manifest says about something that it refers to.

    Attributes:
        part: "manifest" below an index; "config" or "layer" below a manifest.
        size: in bytes.
        platform: of a manifest below an index, if given.
    """

    part: str
    media_type: str
    digest: str
    size: int
    platform: Platform | None = None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """An index (of manifests) or a manifest (of config and layers).

    Attributes:
        subject: digest of the manifest that this one is about, such as a signature's; or None.
    """

    media_type: str
    is_index: bool
    refers_to: tuple[Descriptor, ...]
    subject: str | None = None


def parse(content: bytes) -> Manifest:
    """Read a manifest or an index.

    Raises:
        ManifestError: it is neither.
    """
    if len(content) > MANIFEST_BYTES:
        raise ManifestError(f"larger than any manifest: {len(content)} bytes")
    try:
        value = foreign_json.read(content)
    except ValueError as error:
        raise ManifestError(f"not JSON: {error}") from error
    if not isinstance(value, Mapping) or value.get("schemaVersion") != 2:
        raise ManifestError("not a manifest of schema version 2")
    is_index = "manifests" in value
    media_type = value.get("mediaType") or (INDEX_TYPES if is_index else MANIFEST_TYPES)[0]
    return Manifest(
        media_type=str(media_type),
        is_index=is_index,
        refers_to=tuple(_children(value) if is_index else _parts(value)),
        subject=_subject(value.get("subject")),
    )


def intact(digest: str, content: bytes) -> Manifest | None:
    """Read the manifest stored under a digest; None if it is damaged or not a manifest."""
    if digest_of(content) != digest:
        return None
    try:
        return parse(content)
    except ManifestError:
        return None


def for_platform(index: Manifest, platform: Platform) -> Descriptor | None:
    """The entry for a platform; if that has no variant, the first one of its architecture."""
    return next(
        (
            entry
            for entry in index.refers_to
            if entry.platform is not None
            and (entry.platform.os, entry.platform.architecture)
            == (platform.os, platform.architecture)
            and platform.variant in ("", entry.platform.variant)
        ),
        None,
    )


def chosen(index: Manifest, platform: Platform) -> Descriptor | None:
    """The entry that a node pulls: the one for its platform, or else the first without a platform.

    That may be another index, or an image that does not say what it is for. containerd chooses in
    the same way (`LimitManifests` in core/images/handlers.go).
    """
    without_platform = (entry for entry in index.refers_to if entry.platform is None)
    return for_platform(index, platform) or next(without_platform, None)


def _subject(value: object) -> str | None:
    """The subject's digest. A malformed one does not make an image unreadable: nodes ignore it."""
    return str(value.get("digest", "")) if isinstance(value, Mapping) else None


def _children(index: Mapping[str, Any]) -> Iterable[Descriptor]:
    for where, entry in _list(index, "manifests"):
        platform = _platform(f"{where}.platform", _object(where, entry).get("platform"))
        yield _descriptor("manifest", where, entry, platform)


def _parts(manifest: Mapping[str, Any]) -> Iterable[Descriptor]:
    yield _descriptor("config", "config", _value("", manifest, "config"))
    for where, layer in _list(manifest, "layers"):
        if not any(word in _text(where, layer, "mediaType") for word in _FOREIGN):
            yield _descriptor("layer", where, layer)


def _descriptor(
    part: str, where: str, entry: object, platform: Platform | None = None
) -> Descriptor:
    return Descriptor(
        part=part,
        media_type=_text(where, entry, "mediaType"),
        digest=_text(where, entry, "digest"),
        size=_size(where, entry),
        platform=platform,
    )


def _platform(where: str, value: object) -> Platform | None:
    if not value:
        return None
    return Platform(
        os=_text(where, value, "os"),
        architecture=_text(where, value, "architecture"),
        variant=str(_object(where, value).get("variant", "")),
    )


def _list(manifest: Mapping[str, Any], key: str) -> Iterable[tuple[str, object]]:
    """Each entry with its place in the manifest."""
    entries = _value("", manifest, key)
    if not isinstance(entries, list):
        raise _incomplete(f"{key} is not a list")
    return [(f"{key}[{number}]", entry) for number, entry in enumerate(entries)]


def _text(where: str, value: object, key: str) -> str:
    text = _value(where, value, key)
    if not isinstance(text, str):
        raise _incomplete(f"{where}.{key} is not a string")
    return text


def _size(where: str, value: object) -> int:
    try:
        return int(_value(where, value, "size"))
    except (TypeError, ValueError, OverflowError) as error:
        raise _incomplete(f"{where}.size is not an integer") from error


def _value(where: str, value: object, key: str) -> Any:
    entry = _object(where, value)
    if key not in entry:
        raise _incomplete(f"{where or 'it'} has no {key}")
    return entry[key]


def _object(where: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _incomplete(f"{where} is not an object")
    return value


def _incomplete(why: str) -> ManifestError:
    return ManifestError(f"an incomplete manifest: {why}")
