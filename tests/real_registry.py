"""A real registry, run as a program on loopback, and filled by its own API."""

import hashlib
import json
from contextlib import contextmanager

import httpx

from tests.real.private import registry_process

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


class Registry:
    """A real registry, and what it is filled with."""

    def __init__(self, url, folder):
        self.url = url
        self.folder = folder

    def image(self, repository, tag, *layers, platforms=("amd64", "arm64")):
        """Push an index with one manifest per architecture; its digest."""
        entries = []
        for architecture in platforms:
            config = json.dumps({"architecture": architecture}).encode()
            value = self.single(repository, *layers, config=config)
            entries.append(self.entry(repository, value, architecture))
        return self.index(repository, tag, *entries)

    def single(self, repository, *layers, config=b"{}"):
        """The manifest of an image of one platform, whose parts are pushed."""
        kind = "application/vnd.oci.image"
        return {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": f"{kind}.config.v1+json", **self.blob(repository, config)},
            "layers": [
                {"mediaType": f"{kind}.layer.v1.tar", **self.blob(repository, layer)}
                for layer in layers
            ],
        }

    def entry(self, repository, value, architecture=""):
        """Push a manifest; what an index says of it, without a platform unless it is named."""
        entry = {"mediaType": value["mediaType"], **self.manifest(repository, value)}
        if architecture:
            entry["platform"] = {"os": "linux", "architecture": architecture}
        return entry

    def index(self, repository, tag, *entries):
        """Push an index of these; its digest."""
        value = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        return self.manifest(repository, value, tag)["digest"]

    def blob(self, repository, content):
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        started = httpx.post(f"{self.url}/v2/{repository}/blobs/uploads/")
        place = httpx.URL(started.headers["Location"]).copy_merge_params({"digest": digest})
        httpx.put(place, content=content).raise_for_status()
        return {"digest": digest, "size": len(content)}

    def manifest(self, repository, value, tag=""):
        content = json.dumps(value).encode()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        headers = {"Content-Type": value["mediaType"]}
        url = f"{self.url}/v2/{repository}/manifests/{tag or digest}"
        httpx.put(url, content=content, headers=headers).raise_for_status()
        return {"digest": digest, "size": len(content)}

    def file_of(self, digest):
        """Where the content of a blob is."""
        hexadecimal = digest.removeprefix("sha256:")
        blobs = self.folder / "data/docker/registry/v2/blobs/sha256"
        return blobs / hexadecimal[:2] / hexadecimal / "data"


@contextmanager
def running(folder, **settings):
    """A registry with its data in a folder; more of distribution's settings, by their variables."""
    with registry_process.running(folder, environment=settings) as process:
        yield Registry(process.url, folder)
