"""How long `status` takes over full caches, and how long `logs` reads a long log.

The images are put into the caches' volumes: small ones, and beside them blobs that are holes in a
file system, because nothing here reads them. The log is real: so many requests were sent.
"""

import http.client
import io
import tarfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

import docker
from docker.models.containers import Container

from bench.timing import RUNS, Ratio, run_program, timed, timed_ops
from demo import images
from demo.images import Image
from ops.commands.logs import merged
from ops.docker.cache_logs import log_of
from plan.caches.cache import Cache
from plan.caches.cache_plan import DATA_PATH
from plan.images import storage
from plan.images.digest import digest_of
from plan.settings.keys import DEFAULTS
from plan.traffic.hits import Judge, Stored

IMAGE = str(DEFAULTS["cache.image"])
# In all caches together: 504 images with eight blobs each, 20 GB.
IMAGES = 504
HOLES = 6
HOLE_BYTES = 6_700_000
# The registry writes two lines for each request.
LOG_LINES = 100_000
STATUS, LOGS = "status 6", f"log of {LOG_LINES}"
_ENLARGE = f"find {DATA_PATH} -name data -size 0 -exec busybox truncate -s {HOLE_BYTES} {{}} +"


def measured(client: docker.DockerClient, caches: Mapping[str, int], stack: str) -> list[Ratio]:
    """`status` beside `du` in each container; reading logs beside `docker logs` and a `grep`.

    Args:
        client: of Docker.
        caches: name of each one's container -> its port on 127.0.0.1.
        stack: theirs.
    """
    for name, port in caches.items():
        _fill(client.containers.get(name), IMAGES // len(caches))
        _ask(port, _image(name, 0), LOG_LINES // len(caches) // 2)
    du = " && ".join(f"docker exec {name} du -s {DATA_PATH}" for name in caches)
    logs_of = "; ".join(f"docker logs {name} 2>&1" for name in caches)
    grep = f"{{ {logs_of}; }} | grep -c 'response completed'"
    status, logs = Ratio(STATUS, [], []), Ratio(LOGS, [], [])
    for _ in range(RUNS):
        status.ours.append(timed_ops("status", stack))
        status.theirs.append(timed(lambda: run_program(["sh", "-c", du])))
        logs.ours.append(timed(lambda: _read(client, caches)))
        logs.theirs.append(timed(lambda: run_program(["sh", "-c", grep])))
    return [status, logs]


def _read(client: docker.DockerClient, names: Iterable[str]) -> None:
    """Read and judge every request, as `logs` does."""
    caches = [Cache(host=name, name=name, local_endpoint="", image=IMAGE) for name in names]
    logs = [log for cache in caches if (log := log_of(client, cache))]
    judges = {log.cache.host: Judge(Stored()) for log in logs}
    deque(merged(logs, judges), maxlen=0)


def _image(cache: str, number: int) -> Image:
    return images.single("example.com", f"app{number}", "v1", f"{cache} {number}".encode())


def _fill(cache: Container, count: int) -> None:
    """Put images into a running cache's volume."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number in range(count):
            for path, content in _files(_image(str(cache.name), number)):
                entry = tarfile.TarInfo(f"{storage.ROOT}/{path}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    cache.put_archive(DATA_PATH, buffer.getvalue())
    cache.exec_run(["sh", "-c", _ENLARGE])


def _files(image: Image) -> Iterator[tuple[str, bytes]]:
    """Path below the registry's root -> content, of an image and of its holes."""
    manifest = image.manifests[-1]
    for blob in image.blobs:
        yield storage.blob_path(blob.digest), blob.content
        yield storage.layer_link(image.repository, blob.digest), blob.digest.encode()
    for number in range(HOLES):
        digest = digest_of(f"{manifest.digest} {number}".encode())
        yield storage.blob_path(digest), b""
        yield storage.layer_link(image.repository, digest), digest.encode()
    yield storage.blob_path(manifest.digest), manifest.content
    for link in (
        storage.revision_link(image.repository, manifest.digest),
        *storage.tag_links(image.repository, image.tag, manifest.digest),
    ):
        yield link, manifest.digest.encode()


def _ask(port: int, image: Image, count: int) -> None:
    """Write the log: request a manifest that the cache has, again and again."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    path = f"/v2/{image.repository}/manifests/{image.digest}"
    for _ in range(count):
        connection.request("GET", path, headers={"Accept": images.MANIFEST})
        if (answer := connection.getresponse()).status != http.client.OK:
            raise SystemExit(f"bench: the cache answers with {answer.status}: {answer.read()!r}")
        answer.read()
