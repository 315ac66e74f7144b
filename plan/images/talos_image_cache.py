"""The layout of `talosctl image cache-create`: which of its files holds what.

Nodes and `talosctl image cache-serve` read it. Source: `pkg/imager/cache` and the registry service
of Talos v1.13.0. Early versions wrote `sha256:` where there is `sha256-` now; both are read.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from plan.images import manifests
from plan.images.archive import MANIFESTS, ArchiveError, LockedImage
from plan.images.digest import digest_of, digest_of_hex
from plan.images.manifests import Manifest, ManifestError
from plan.images.reference import ImageReference, parse_list
from plan.images.storage import Part, subject_of
from plan.problems import ImageListError
from plan.upstreams import DOCKER_IO_ALIASES

BLOB_FOLDER = "blob"
MANIFEST_FOLDER = "manifests"
_BLOB = re.compile(rf"{BLOB_FOLDER}/sha256[-:]([0-9a-f]{{64}})")
_MANIFEST = re.compile(rf"{MANIFEST_FOLDER}/([^/]+)/(.+)/digest/sha256[-:]([0-9a-f]{{64}})")
_TAG = re.compile(rf"{MANIFEST_FOLDER}/([^/]+)/(.+)/reference/([^/]+)")
_WITH_PORT = re.compile(r"(.+)_([0-9]+)_")


@dataclass
class _Repository:
    """What lies below one repository's folder: digest -> content, and tag -> digest."""

    name: str
    manifests: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


def files(images: Iterable[LockedImage]) -> dict[str, Part]:
    """Path of every file -> what it holds; a tag's file holds the manifest or index itself."""
    found: dict[str, Part] = {}
    for locked in images:
        image = locked.image
        folder = f"{MANIFEST_FOLDER}/{_folder_of(image.host)}/{image.repository}"
        if image.tag:
            found[f"{folder}/reference/{image.tag}"] = locked.parts[0]
        for part in locked.parts:
            name = part.digest.replace(":", "-")
            is_manifest = part.part in MANIFESTS
            found[f"{folder}/digest/{name}" if is_manifest else f"{BLOB_FOLDER}/{name}"] = part
    return dict(sorted(found.items()))


def blob_digest(path: str) -> str:
    """The digest that a file below the folder of blobs is named after.

    Raises:
        ArchiveError: there is none in its name.
    """
    if not (match := _BLOB.fullmatch(path)):
        raise _unknown(path)
    return digest_of_hex(match[1])


def images(contents: Mapping[str, bytes], blobs: Mapping[str, int]) -> tuple[LockedImage, ...]:
    """Every image that such files make up: each tag, and what no tag leads to by its digest.

    Of an index those platforms belong to the image that are there.

    Args:
        contents: path -> content of each file below the folder of manifests.
        blobs: digest -> size in bytes.

    Raises:
        ArchiveError: a file is not what it is named after, or an image is not complete.
    """
    found: list[LockedImage] = []
    for repository in _repositories(contents):
        parsed = {digest: _parsed(digest, one) for digest, one in repository.manifests.items()}
        below = {child.digest for one in parsed.values() for child in one.refers_to}
        roots = [(f":{tag}", digest) for tag, digest in sorted(repository.tags.items())]
        tagged = set(repository.tags.values())
        roots += [(f"@{one}", one) for one in sorted(parsed.keys() - below - tagged)]
        for suffix, digest in roots:
            image = _reference(f"{repository.name}{suffix}")
            parts = tuple(_parts(image, digest, repository, parsed, blobs))
            media_type = parsed[digest].media_type
            found.append(LockedImage(image=image, media_type=media_type, parts=parts))
    if not found:
        raise ArchiveError("it has no image")
    return tuple(found)


def _repositories(contents: Mapping[str, bytes]) -> Iterable[_Repository]:
    found: dict[str, _Repository] = {}
    for path, content in sorted(contents.items()):
        digest = digest_of(content)
        match = _MANIFEST.fullmatch(path) or _TAG.fullmatch(path)
        if match is None:
            raise _unknown(path)
        name = f"{_host_of(match[1])}/{match[2]}"
        repository = found.setdefault(name, _Repository(name))
        repository.manifests[digest] = content
        if match.re is _TAG:
            repository.tags[match[3]] = digest
        elif digest != digest_of_hex(match[3]):
            raise ArchiveError(f"a file in it was changed: {path} has the digest {digest}")
    return found.values()


def _parts(
    image: ImageReference,
    digest: str,
    repository: _Repository,
    parsed: Mapping[str, Manifest],
    blobs: Mapping[str, int],
) -> list[Part]:
    found: dict[str, Part] = {}
    ahead = [digest]
    while ahead:  # indexes may lie as deep in each other as somebody likes
        if (one := ahead.pop()) in found:
            continue
        manifest, size = parsed[one], len(repository.manifests[one])
        if manifest.is_index:
            found[one] = Part(part="index", digest=one, size=size)
            children = [entry.digest for entry in manifest.refers_to if entry.digest in parsed]
            if not children and not subject_of(image.tag):
                raise ArchiveError(f"it does not have all of {image}: no platform of it is there")
            ahead += reversed(children)
        else:
            found[one] = Part(part="manifest", digest=one, size=size)
            found |= {part.digest: part for part in _blobs(image, manifest, blobs)}
    return list(found.values())


def _blobs(image: ImageReference, manifest: Manifest, blobs: Mapping[str, int]) -> list[Part]:
    parts = [Part(part=one.part, digest=one.digest, size=one.size) for one in manifest.refers_to]
    for part in parts:
        if blobs.get(part.digest) != part.size:
            raise ArchiveError(
                f"it does not have all of {image}: the {part.part} {part.digest} is missing or has "
                "another size"
            )
    return parts


def _parsed(digest: str, content: bytes) -> Manifest:
    try:
        return manifests.parse(content)
    except ManifestError as error:
        raise ArchiveError(f"{digest} in it is no manifest: {error}") from error


def _reference(name: str) -> ImageReference:
    try:
        (image,) = parse_list(name, "its folder of manifests", (name.partition("/")[0],))
    except ImageListError as error:
        raise ArchiveError(str(error)) from error
    return image


def _folder_of(host: str) -> str:
    """A colon can't be on some file systems, those that installation media have."""
    name, colon, port = host.partition(":")
    return f"{name}_{port}_" if colon else host


def _host_of(folder: str) -> str:
    if match := _WITH_PORT.fullmatch(folder):
        return f"{match[1]}:{match[2]}"
    return "docker.io" if folder in DOCKER_IO_ALIASES else folder


def _unknown(path: str) -> ArchiveError:
    return ArchiveError(f"it has a file that the layout of talosctl does not know: {path}")
