"""The layout of Talos's image cache, as `talosctl image cache-create` writes it.

Nodes and `talosctl image cache-serve` read it. Source: `pkg/imager/cache` and the registry service
of Talos v1.13.0. Early versions wrote `sha256:` instead of `sha256-`; both are read.
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
    """The content of one repository's folder: digest -> content, and tag -> digest."""

    name: str
    manifests: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


def files(images: Iterable[LockedImage]) -> dict[str, Part]:
    """Path of every file -> its content; a tag's file is a copy of the manifest or index."""
    parts: dict[str, Part] = {}
    for locked in images:
        image = locked.image
        folder = f"{MANIFEST_FOLDER}/{_folder_of(image.host)}/{image.repository}"
        if image.tag:
            parts[f"{folder}/reference/{image.tag}"] = locked.parts[0]
        for part in locked.parts:
            name = part.digest.replace(":", "-")
            is_manifest = part.part in MANIFESTS
            parts[f"{folder}/digest/{name}" if is_manifest else f"{BLOB_FOLDER}/{name}"] = part
    return dict(sorted(parts.items()))


def blob_digest(path: str) -> str:
    """The digest in the name of a file in the folder of blobs.

    Raises:
        ArchiveError: there is none.
    """
    if not (match := _BLOB.fullmatch(path)):
        raise _unknown(path)
    return digest_of_hex(match[1])


def images(contents: Mapping[str, bytes], blobs: Mapping[str, int]) -> tuple[LockedImage, ...]:
    """Every image in such files: each tag, and by digest what no tag points to.

    Of an index, those platforms belong to the image that are there.

    Args:
        contents: path -> content of each file below the folder of manifests.
        blobs: digest -> size in bytes.

    Raises:
        ArchiveError: a file does not match the digest in its name, or an image is incomplete.
    """
    locked: list[LockedImage] = []
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
            locked.append(LockedImage(image=image, media_type=media_type, parts=parts))
    if not locked:
        raise ArchiveError("it contains no images")
    return tuple(locked)


def _repositories(contents: Mapping[str, bytes]) -> Iterable[_Repository]:
    by_name: dict[str, _Repository] = {}
    for path, content in sorted(contents.items()):
        digest = digest_of(content)
        match = _MANIFEST.fullmatch(path) or _TAG.fullmatch(path)
        if match is None:
            raise _unknown(path)
        name = f"{_host_of(match[1])}/{match[2]}"
        repository = by_name.setdefault(name, _Repository(name))
        repository.manifests[digest] = content
        if match.re is _TAG:
            repository.tags[match[3]] = digest
        elif digest != digest_of_hex(match[3]):
            raise ArchiveError(f"a file in it was changed: the digest of {path} is {digest}")
    return by_name.values()


def _parts(
    image: ImageReference,
    digest: str,
    repository: _Repository,
    parsed: Mapping[str, Manifest],
    blobs: Mapping[str, int],
) -> list[Part]:
    parts: dict[str, Part] = {}
    ahead = [digest]
    while ahead:  # not recursive: indexes may be nested to any depth
        if (one := ahead.pop()) in parts:
            continue
        manifest, size = parsed[one], len(repository.manifests[one])
        if manifest.is_index:
            parts[one] = Part(part="index", digest=one, size=size)
            children = [entry.digest for entry in manifest.refers_to if entry.digest in parsed]
            if not children and not subject_of(image.tag):
                raise ArchiveError(
                    f"{image} is incomplete in it: no platform of its index is there"
                )
            ahead += reversed(children)
        else:
            parts[one] = Part(part="manifest", digest=one, size=size)
            parts |= {part.digest: part for part in _blobs(image, manifest, blobs)}
    return list(parts.values())


def _blobs(image: ImageReference, manifest: Manifest, blobs: Mapping[str, int]) -> list[Part]:
    parts = [Part(part=one.part, digest=one.digest, size=one.size) for one in manifest.refers_to]
    for part in parts:
        if blobs.get(part.digest) != part.size:
            raise ArchiveError(
                f"{image} is incomplete in it: the {part.part} {part.digest} is missing or has the "
                "wrong size"
            )
    return parts


def _parsed(digest: str, content: bytes) -> Manifest:
    try:
        return manifests.parse(content)
    except ManifestError as error:
        raise ArchiveError(f"{digest} in it is not a manifest: {error}") from error


def _reference(name: str) -> ImageReference:
    try:
        (image,) = parse_list(name, "its folder of manifests", (name.partition("/")[0],))
    except ImageListError as error:
        raise ArchiveError(str(error)) from error
    return image


def _folder_of(host: str) -> str:
    """The folder of a host: file systems of installation media don't allow a colon."""
    name, colon, port = host.partition(":")
    return f"{name}_{port}_" if colon else host


def _host_of(folder: str) -> str:
    if match := _WITH_PORT.fullmatch(folder):
        return f"{match[1]}:{match[2]}"
    return "docker.io" if folder in DOCKER_IO_ALIASES else folder


def _unknown(path: str) -> ArchiveError:
    return ArchiveError(f"it contains a file that does not belong to talosctl's layout: {path}")
