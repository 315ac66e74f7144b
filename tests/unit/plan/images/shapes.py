"""Images and a cache's volume for the tests, written down by hand."""

import dataclasses
import hashlib
import json

from plan.images import manifests, storage
from plan.images.reference import ImageReference, Platform

AMD64 = Platform(os="linux", architecture="amd64")
INDEX, MANIFEST = manifests.INDEX_TYPES[0], manifests.MANIFEST_TYPES[0]


def digest_of(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def descriptor(content, media_type="application/octet-stream", **more):
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content), **more}


def image(*layers, config=b"config", **more):
    content = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(config),
        "layers": [descriptor(layer) for layer in layers],
        **more,
    }
    return json.dumps(content).encode()


def entry(content, architecture=""):
    """One of an index; of a nested one, or of an artifact, without a platform."""
    kind = MANIFEST if b"layers" in content else INDEX
    platform = {"platform": {"os": "linux", "architecture": architecture}} if architecture else {}
    return descriptor(content, kind, **platform)


def index(*entries, **more):
    content = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries, **more}
    return json.dumps(content).encode()


def attached(content, suffix=""):
    """The tag of what is attached to an image."""
    return f"{digest_of(content).replace(':', '-')}{suffix}"


CONFIG, LAYER = b"config", b"a layer"
FOREIGN = descriptor(b"far", "application/vnd.docker.image.rootfs.foreign.diff")
# A layer may be there twice, and one may be elsewhere.
IMAGE = image(layers=[descriptor(LAYER), descriptor(LAYER), FOREIGN])
LIST = json.dumps(
    {
        "schemaVersion": 2,
        "manifests": [
            descriptor(b"unsaid", MANIFEST),
            entry(b"layers of another", "arm64"),
            entry(IMAGE, "amd64"),
        ],
    }
).encode()
ALL = (LIST, IMAGE, CONFIG, LAYER)
WANTED = ImageReference(host="ghcr.io", repository="team/app", tag="v1")


def link_of(content):
    """What lets the repository serve a part of WANTED."""
    link = storage.revision_link if content in (LIST, IMAGE) else storage.layer_link
    return link("team/app", digest_of(content))


def volume(some, blobs, tags, changed=None):
    """A volume with one repository: manifests, blobs, and tag -> manifest or index.

    Args:
        changed: path -> another size of this file; None if it is gone.
    """
    contents = {digest_of(one): one for one in (*some, *tags.values())}
    layers = {digest_of(one): one for one in blobs}
    sizes = {storage.blob_path(key): len(one) for key, one in (contents | layers).items()}
    sizes |= {storage.revision_link("team/app", one): storage.LINK_BYTES for one in contents}
    sizes |= {storage.layer_link("team/app", one): storage.LINK_BYTES for one in layers}
    sizes |= changed or {}
    links = {storage.tag_links("team/app", tag, "")[0]: digest_of(tags[tag]) for tag in tags}
    listing = [(path, size) for path, size in sizes.items() if size is not None]
    read = storage.parse_listing(listing, links)
    kept = {digest: content for digest, content in contents.items() if digest in read.blobs}
    return dataclasses.replace(read, manifests=kept)


def held(changed=None):
    """The volume of a cache that has all of WANTED, but for these files; see `volume`."""
    return volume((IMAGE,), (CONFIG, LAYER), {"v1": LIST}, changed)


def gone(*contents):
    """For `volume`: these files are gone, and what links them is still there."""
    return {storage.blob_path(digest_of(one)): None for one in contents}
