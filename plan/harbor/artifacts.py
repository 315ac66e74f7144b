"""What a Harbor stores of an image, according to the artifacts that its API lists.

Harbor adds a manifest to a repository only if all of its blobs are there, and an index only with
manifests that are there: what is listed can be served without the upstream. A proxy cache rewrites
an index to list only the platforms that it has, so that its digest differs from the upstream's
(`src/controller/proxy/manifestcache.go` of goharbor/harbor).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from plan.images.manifests import INDEX_TYPES, Descriptor, Manifest, chosen
from plan.images.reference import ImageReference, Platform
from plan.images.storage import MISSING, Fault

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """What Harbor has delivered of an image, and will store later.

    Attributes:
        digest: of its manifest or index, as the upstream has it.
        platforms: digests of an index's manifests; none for an image that is not an index.
        chosen: the one for the wanted platform; None for an image that is not an index.
        left_out: why one of the others was not delivered; None if all were.
    """

    digest: str
    platforms: tuple[str, ...] = ()
    chosen: str | None = None
    left_out: str | None = None


def is_index(artifact: Json) -> bool:
    """Whether an artifact is an index."""
    return artifact.get("manifest_media_type") in INDEX_TYPES


def child_digest(index: Json, platform: Platform) -> str | None:
    """The digest of the manifest, or index, that a node pulls; None if the index has none."""
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
    descriptor = chosen(manifest, platform)
    return descriptor.digest if descriptor else None


def size(artifact: Json | None) -> int:
    """Bytes of an artifact and all that it refers to; 0 for None."""
    return int(artifact["size"]) if artifact else 0


def faults(
    image: ImageReference, artifact: Json | None, child: str | None, listed: Json | None
) -> tuple[Fault, ...]:
    """What keeps Harbor from serving an image without its upstream; empty if nothing does.

    Args:
        image: the image.
        artifact: what Harbor lists under its tag or digest, if anything.
        child: digest of the manifest for the wanted platform; None if an index has none.
        listed: what Harbor lists under that digest, or for an image that is not an index, if
            anything.
    """
    if artifact is None:
        part = "manifest" if image.digest else "tag"
        return (Fault(part=part, digest=image.digest, size=0, problem=MISSING),)
    if not is_index(artifact) or listed is not None:
        return ()
    if child is None:
        return (Fault(part="platform", digest="", size=0, problem=MISSING),)
    return (Fault(part="manifest", digest=child, size=0, problem=MISSING),)


def other_digest(tagged: Json | None, platform: Platform) -> str:
    """Why Harbor doesn't have an image under the digest in its reference, and what to do.

    Args:
        tagged: what Harbor lists under the image's tag, if anything.
        platform: the wanted platform.
    """
    if tagged is None or not is_index(tagged):
        return (
            "fetch it with warm. An index of several platforms rarely has the upstream's digest in "
            "Harbor, which rewrites it: pull such an image by its tag"
        )
    return _rewritten(child_digest(tagged, platform), platform, f": {tagged['digest']}")


def never_stored(
    image: ImageReference,
    delivered: Delivered,
    platform: Platform,
    repository: str,
    image_faults: Iterable[Fault],
) -> str:
    """Why an image is not complete although Harbor stores all of its parts, and what to do.

    Args:
        image: that was pulled.
        delivered: what Harbor has delivered of it.
        platform: the wanted platform.
        repository: with the project, as Harbor names it.
        image_faults: what is missing nevertheless.
    """
    if image.digest:
        return _rewritten(delivered.chosen, platform)
    missing = {fault.part for fault in image_faults}
    what = f"the tag's index has no {platform}" if "platform" in missing else "doesn't set the tag"
    keys = (
        f"cache:manifestlist:{repository}:{delivered.digest} "
        f"cache:trimmedmanifestlist:{delivered.digest}"
    )
    return (
        f"Harbor stores all of it, but {what}: for 7 days it goes by the first request for this "
        "index, which was a GET of the tag (as skopeo sends it), by another tag or by digest, "
        "without this platform, or took longer than 400 s. Run redis-cli del "
        f"{keys} on Harbor's Redis and warm again, or choose another harbor.projectPrefix"
    )


def not_stored(image_faults: Iterable[Fault], delivered: Delivered, seconds: float) -> str:
    """Why an image that was delivered is not complete."""
    parts = ", ".join(f"{fault.part} {fault.digest}".rstrip() for fault in image_faults)
    why = (
        f"another platform was not delivered, {delivered.left_out}"
        if delivered.left_out
        else "is the project's quota exhausted? See the log of Harbor's core"
    )
    return f"{parts}: delivered, but Harbor has not stored it within {seconds:.0f} s: {why}"


def not_known(error: str) -> str:
    """Why it is unknown whether an image that was delivered is complete."""
    return f"delivered, but it is unknown whether Harbor has stored it: {error}"


def awaited(images: Iterable[ImageReference], seconds: float) -> str:
    """One line on what Harbor still has to store: how many images, and from which upstreams."""
    by_host = Counter(image.host for image in images)
    hosts = ", ".join(f"{count} of {host}" for host, count in by_host.items())
    return f"waiting for up to {seconds:.0f} s until Harbor has stored the images: {hosts}"


def _rewritten(child: str | None, platform: Platform, now: str = "") -> str:
    by_digest = f", or by the digest of {platform}: {child}" if child else ""
    return (
        f"Harbor has rewritten this index, which gave it another digest{now}. A pull by the "
        f"upstream's digest needs the upstream; pull by tag instead{by_digest}"
    )


def _platform(value: Json | None) -> Platform | None:
    if value is None:
        return None
    # If an entry has no platform, Harbor rewrites it with two empty fields: to nodes that is a
    # platform other than theirs.
    return Platform(
        os=value.get("os", ""),
        architecture=value.get("architecture", ""),
        variant=value.get("variant", ""),
    )
