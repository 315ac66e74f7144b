"""Images that are pulled through the double's proxy caches, and how they are made upstream."""

import json

import httpx

from ops.harbor import pull
from plan.images.reference import ImageReference, Platform
from tests.fakes.harbor.proxy import ACCEPT, written_anew
from tests.fakes.harbor.store import digest_of

AMD64, ARM64, S390X = (
    Platform(os="linux", architecture=one) for one in ("amd64", "arm64", "s390x")
)


def image(tag, repository="team/app", digest="", host="quay.io"):
    return ImageReference(host=host, repository=repository, tag=tag, digest=digest)


V1, V2, OTHER = image("v1"), image("v2"), image("v1", "team/other")
SINGLE = image("v1", "team/single")
BUSYBOX = image("v1", "library/busybox", host="docker.io")


def pulled(registry, *wanted, platform=AMD64, has=lambda *_: False):
    came = []
    done = pull.pull({"quay.io": registry}, wanted, platform, 4, has, came.append)
    return done, sum(came)


def comes(registry, one=V1):
    """That nothing keeps an image from coming."""
    assert pulled(registry, one)[0].said == {}


def why_not(registry, one=V1, **more):
    """Why an image does not come."""
    done, _ = pulled(registry, one, **more)
    assert list(done.said) == [one]
    return done.said[one]


def index_of(registry, repository, **layers):
    """Make an index as `v1`, of one layer for each architecture; the digests of its manifests."""
    entries = [
        registry.entry(repository, registry.single(repository, layer), architecture)
        for architecture, layer in layers.items()
    ]
    registry.index(repository, "v1", *entries)
    return [one["digest"] for one in entries]


def nested(registry, repository, beside=None):
    """Make an index as `v1`, with another in it that Harbor leaves as it is; what is in that.

    Args:
        registry: upstream.
        repository: to make it in.
        beside: layer of a manifest for amd64 beside the index; None for none.
    """
    children = index_of(registry, repository, amd64=b"inner amd64", arm64=b"inner arm64")
    given = httpx.get(f"{registry.url}/v2/{repository}/manifests/v1", headers=ACCEPT).json()
    content = written_anew(given["manifests"])
    inner = json.loads(content)
    address = f"{registry.url}/v2/{repository}/manifests/{digest_of(content)}"
    headers = {"Content-Type": inner["mediaType"]}
    httpx.put(address, content=content, headers=headers).raise_for_status()
    inner_entry = {"mediaType": inner["mediaType"], "digest": digest_of(content)}
    entries = [{**inner_entry, "size": len(content)}]
    if beside is not None:
        entries.append(registry.entry(repository, registry.single(repository, beside), "amd64"))
    registry.index(repository, "v1", *entries)
    return children
