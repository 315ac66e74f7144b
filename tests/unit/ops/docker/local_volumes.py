"""Volumes in a folder of this machine, for tests without Docker."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from ops.docker.volumes import MOUNT, Volumes, folder
from plan.caches.cache import of_settings
from plan.images import storage
from plan.images.archive import Lock, LockedImage
from plan.images.reference import parse_list
from plan.images.storage import Part
from plan.settings.stack import parse
from tests.unit.plan.images.shapes import CONFIG, IMAGE, LAYER, MANIFEST, digest_of

PREFIX = "proxy-ghcr.io"
IMAGES = parse_list("ghcr.io/team/app:v1\n", "list", {"ghcr.io", "quay.io"})


@dataclass(frozen=True, kw_only=True)
class LocalVolumes(Volumes):
    """A double of the container: the same programs on a folder; `calls` would go to Docker."""

    root: Path
    calls: list = field(default_factory=list)

    def stream(self, *argv):
        self.calls.append(argv)
        here = [word.replace(MOUNT, str(self.root)) for word in argv]
        yield subprocess.run(here, capture_output=True, check=True).stdout

    def put(self, path, archive):
        """As Docker does: what has arrived is there at once, whether the rest arrives or not."""
        self.calls.append(path)
        argv = ["tar", "--extract", f"--directory={self.here(path)}"]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as tar:
            for some in archive:
                tar.stdin.write(some)

    def here(self, path):
        """Where a path of the container is on this machine."""
        return Path(path.replace(MOUNT, str(self.root)))

    def home(self, host):
        """Where the registry of a host's cache keeps its files."""
        return self.here(folder(self.by_host[host]))

    @property
    def by_host(self):
        return {cache.host: cache for cache in self.caches}

    def files(self, cache=None):
        """Names of all files there, or of those in one cache's folder."""
        root = self.home(cache.host) if cache else self.root
        return {str(one.relative_to(root)) for one in root.rglob("*") if one.is_file()}


def local_volumes(root):
    """Volumes of a cache with a path prefix, and of one without."""
    upstreams = {"ghcr.io": {"pathPrefix": PREFIX}, "quay.io": {}}
    caches = of_settings(parse({"upstreams": upstreams}))
    made = LocalVolumes(client=None, container="", caches=caches, present=caches, root=root)
    for cache in caches:
        made.home(cache.host).mkdir(parents=True)
    return made


def write(volumes, host, repository, tag="v1"):
    """An image in a cache's volume, under this name."""
    links = [storage.revision_link(repository, digest_of(IMAGE))]
    links += [storage.layer_link(repository, digest_of(one)) for one in (CONFIG, LAYER)]
    files = {storage.blob_path(digest_of(one)): one for one in (IMAGE, CONFIG, LAYER)}
    files |= {link: f"sha256:{link.split('/')[-2]}".encode() for link in links}
    current, history = storage.tag_links(repository, tag, digest_of(IMAGE))
    files |= dict.fromkeys((current, history), digest_of(IMAGE).encode())
    for path, content in files.items():
        file = volumes.home(host) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def lock_of(**contents):
    """The lock of an archive with the first of IMAGES, which consists of these parts."""
    parts = tuple(
        Part(part=part, digest=digest_of(one), size=len(one)) for part, one in contents.items()
    )
    return Lock(
        platform="linux/amd64",
        registry_image="",
        registry_digest="",
        images=(LockedImage(image=IMAGES[0], media_type=MANIFEST, parts=parts),),
        boot_assets=(),
    )
