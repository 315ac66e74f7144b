"""Volumes for the tests of pruning, which grow and shrink, and what is decided about them."""

import dataclasses
from datetime import datetime

from plan.images import pruning, storage
from plan.images.reference import ImageReference
from plan.images.storage import LINK_BYTES
from plan.images.volume_images import File, Volume
from tests.unit.plan.images.shapes import AMD64, digest_of, entry, image, index

HOST = "ghcr.io"
WRITTEN = "2026-01-01"
BASE, OLD, NEW, CONFIG = b"base" * 1000, b"old" * 1000, b"new" * 1000, b"config"
OLD_IMAGE, NEW_IMAGE = image(BASE, OLD), image(BASE, NEW)
BOTH = index(entry(OLD_IMAGE, "amd64"), entry(NEW_IMAGE, "arm64"))


def noon(day):
    """Of a day in UTC, in seconds since 1970."""
    return int(datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp())


class Disk:
    """A volume that grows by what is put on it, in distribution's own layout."""

    def __init__(self, host=HOST):
        self.host = host
        self.blobs = {}
        self.files = {}
        self.tags = {}

    def repository(self, name, contents, layers, tags=(), day=WRITTEN):
        for content in (*contents, *layers):
            self.blobs[digest_of(content)] = content
        for content in contents:
            self.file(storage.revision_link(name, digest_of(content)), day=day)
        for layer in layers:
            self.file(storage.layer_link(name, digest_of(layer)), day=day)
        for tag, content in dict(tags).items():
            current, history = storage.tag_links(name, tag, digest_of(content))
            self.tags[current] = digest_of(content)
            self.file(current, day=day)
            self.file(history, day=day)
        return self

    def file(self, path, size=LINK_BYTES, day=WRITTEN):
        self.files[path] = File(size=size, written=noon(day))
        return self

    def without(self, *contents):
        for content in contents:
            del self.blobs[digest_of(content)]
        return self

    @property
    def volume(self):
        listed = [(path, file.size) for path, file in self.files.items()]
        listed += [(storage.blob_path(one), len(content)) for one, content in self.blobs.items()]
        tags = {path: digest for path, digest in self.tags.items() if path in self.files}
        read = storage.parse_listing(listed, tags)
        contents = {digest: self.blobs[digest] for digest in read.revisions()}
        return Volume(
            host=self.host,
            store=dataclasses.replace(read, manifests=contents),
            files=dict(self.files),
        )

    def remove(self, todo):
        for path in (*todo.tags, *todo.files):
            del self.files[path]
        for digest in todo.blobs:
            del self.blobs[digest]


def one(tags):
    """The old image alone."""
    return Disk().repository("app", (OLD_IMAGE,), (BASE, OLD, CONFIG), tags)


def two(**more):
    """Tags `old` and `new` in one repository; they share a layer and the config."""
    contents, layers = (OLD_IMAGE, NEW_IMAGE), (BASE, OLD, NEW, CONFIG)
    return Disk(**more).repository("app", contents, layers, {"old": OLD_IMAGE, "new": NEW_IMAGE})


def both(tags):
    """One image for two platforms."""
    return Disk().repository("app", (BOTH, OLD_IMAGE, NEW_IMAGE), (BASE, OLD, NEW), tags)


SIZE = two().volume.size
DAYS = {"app:old": "2026-11-01", "app:new": "2026-11-20"}


def ref(name="app", tag="", digest="", host=HOST):
    return ImageReference(host=host, repository=name, tag=tag, digest=digest)


def decided(*disks, to=0, keep=(), days=DAYS):
    sets = {"kept": keep} if keep else {}
    return pruning.decide([disk.volume for disk in disks], sets, {HOST: days}, to, AMD64)


def names(decision):
    return [str(going.image).removeprefix(f"{HOST}/") for going in decision.going]


def pruned(disk, decision, keep=()):
    """The volume afterwards."""
    sets = {"kept": keep} if keep else {}
    disk.remove(pruning.removal(disk.volume, sets, decision.going))
    assert disk.volume.size == decision.after[disk.host]
    return disk.volume


def is_complete(volume, tag="", **more):
    return storage.faults(volume.store, ref(tag=tag, **more), AMD64) == ()
