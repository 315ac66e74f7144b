"""What a Harbor holds of an image, by the objects that its API gives of artifacts.

Harbor takes a manifest into a repository only when all of its blobs are there, and an index only
with manifests that are there: what is listed can be served without the upstream. A proxy cache
writes an index anew, of those platforms that it has, under another digest than the upstream's
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
    """What Harbor has sent of an image, and stores later.

    Attributes:
        digest: of its manifest or index, as the upstream has it.
        platforms: digests of an index's manifests; none for an image that is no index.
        chosen: the one for the wanted platform; None for an image that is no index.
        left_out: why one of the others did not come; None if all did.
    """

    digest: str
    platforms: tuple[str, ...] = ()
    chosen: str | None = None
    left_out: str | None = None


def is_index(artifact: Json) -> bool:
    """Whether an artifact is an index."""
    return artifact.get("manifest_media_type") in INDEX_TYPES


def child_digest(index: Json, platform: Platform) -> str | None:
    """The digest of the manifest, or index, that a node takes; None where the index has none."""
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
    found = chosen(manifest, platform)
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
        held: what Harbor lists under that digest, or for an image that is no index; None for
            nothing.
    """
    if artifact is None:
        part = "manifest" if image.digest else "tag"
        return (Fault(part=part, digest=image.digest, size=0, problem=MISSING),)
    if not is_index(artifact) or held is not None:
        return ()
    if child is None:
        return (Fault(part="platform", digest="", size=0, problem=MISSING),)
    return (Fault(part="manifest", digest=child, size=0, problem=MISSING),)


def other_digest(tagged: Json | None, platform: Platform) -> str:
    """Why an image is not held by the digest that it is wanted by, and what to do.

    Args:
        tagged: what Harbor lists under the image's tag; None for nothing.
        platform: that is wanted.
    """
    if tagged is None or not is_index(tagged):
        return (
            "fetch it with warm; but an index of several platforms is hardly ever held by the "
            "upstream's digest, because Harbor writes it anew: name such an image by its tag"
        )
    return _written_anew(child_digest(tagged, platform), platform, f": {tagged['digest']}")


def never_stored(
    image: ImageReference,
    delivered: Delivered,
    platform: Platform,
    repository: str,
    image_faults: Iterable[Fault],
) -> str:
    """Why an image is not complete though Harbor holds all that belongs to it, and what to do.

    Args:
        image: that was pulled.
        delivered: what came of it.
        platform: that was wanted.
        repository: with the project, as Harbor names it.
        image_faults: what it lacks all the same.
    """
    if image.digest:
        return _written_anew(delivered.chosen, platform)
    lacks = {fault.part for fault in image_faults}
    what = (
        f"has an index without {platform} under the tag" if "platform" in lacks else "sets no tag"
    )
    keys = (
        f"cache:manifestlist:{repository}:{delivered.digest} "
        f"cache:trimmedmanifestlist:{delivered.digest}"
    )
    return (
        f"Harbor holds all of it, but {what}: for 7 days Harbor goes by the first request for this "
        "index: a GET of the tag (as skopeo sends), another tag, the digest, without this "
        f"platform, or one that took longer than 400 s. Run redis-cli del {keys} on Harbor's Redis "
        "and warm again, or take another harbor.projectPrefix"
    )


def not_stored(image_faults: Iterable[Fault], delivered: Delivered, seconds: float) -> str:
    """Why an image is not complete that was delivered."""
    parts = ", ".join(f"{fault.part} {fault.digest}".rstrip() for fault in image_faults)
    why = (
        f"another platform did not come, {delivered.left_out}"
        if delivered.left_out
        else "is the project's quota used up? The log of Harbor's core says why"
    )
    return f"{parts}: delivered, but Harbor has not stored it within {seconds:.0f} s: {why}"


def not_known(error: str) -> str:
    """Why nobody knows whether an image is complete that was delivered."""
    return f"delivered, but whether Harbor has stored it is not known: {error}"


def awaited(images: Iterable[ImageReference], seconds: float) -> str:
    """One line on what Harbor has still to store: how many images, and of which upstreams."""
    by_host = Counter(image.host for image in images)
    hosts = ", ".join(f"{count} of {host}" for host, count in by_host.items())
    return f"waiting until Harbor has stored what came: {hosts}, for {seconds:.0f} s at most"


def _written_anew(child: str | None, platform: Platform, under: str = "") -> str:
    pin = f", or the digest of {platform}: {child}" if child else ""
    return (
        f"Harbor holds this index, but has written it anew under another digest{under}. Who pulls "
        f"by the upstream's digest needs the upstream; name the tag instead{pin}"
    )


def _platform(value: Json | None) -> Platform | None:
    if value is None:
        return None
    # Of an entry that names none Harbor writes both anew, and empty: nodes take them for a platform
    # that is not theirs.
    return Platform(
        os=value.get("os", ""),
        architecture=value.get("architecture", ""),
        variant=value.get("variant", ""),
    )
