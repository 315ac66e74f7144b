"""What a Harbor holds of an image, by the objects that its API gives of artifacts.

Harbor takes a manifest into a repository only when all of its blobs are there, and an index only
with manifests that are there: what is listed can be served without the upstream. A proxy cache that
has pulled some platforms of an index only keeps an index of these, of another digest than the
upstream's (`src/controller/proxy/manifestcache.go` of goharbor/harbor).
"""

from collections.abc import Mapping
from typing import Any

from plan.images import ImageReference, Platform
from plan.manifests import INDEX_TYPES, Descriptor, Manifest, for_platform
from plan.store import MISSING, Fault

Json = Mapping[str, Any]


def is_index(artifact: Json) -> bool:
    """Whether an artifact is an index."""
    return artifact.get("manifest_media_type") in INDEX_TYPES


def child_digest(index: Json, platform: Platform) -> str | None:
    """The digest of the manifest for a platform; None where the index has none."""
    entries = tuple(
        Descriptor(
            part="manifest",
            media_type="",
            digest=reference["child_digest"],
            size=0,
            platform=_platform(reference.get("platform")),
        )
        for reference in index.get("references") or ()
    )
    manifest = Manifest(media_type=INDEX_TYPES[0], is_index=True, refers_to=entries)
    found = for_platform(manifest, platform)
    return found.digest if found else None


def size(artifact: Json | None) -> int:
    """Bytes of an artifact with all that it refers to; 0 where there is none."""
    return int(artifact["size"]) if artifact else 0


def faults(
    image: ImageReference, artifact: Json | None, child: str | None, held: Json | None
) -> tuple[Fault, ...]:
    """What keeps Harbor from serving an image without its upstream; nothing if it can.

    Args:
        image: that is wanted.
        artifact: what Harbor lists under its tag or digest; None for nothing.
        child: digest of the manifest for the wanted platform; None where an index has none.
        held: what Harbor lists under that digest; None for nothing.
    """
    if artifact is None:
        part = "manifest" if image.digest else "tag"
        return (Fault(part=part, digest=image.digest, size=0, problem=MISSING),)
    if not is_index(artifact) or held is not None:
        return ()
    if child is None:
        return (Fault(part="platform", digest="", size=0, problem=MISSING),)
    return (Fault(part="manifest", digest=child, size=0, problem=MISSING),)


def _platform(value: Json | None) -> Platform | None:
    if not value:
        return None
    return Platform(
        os=value.get("os", ""),
        architecture=value.get("architecture", ""),
        variant=value.get("variant", ""),
    )
