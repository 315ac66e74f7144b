"""Every image that a test cluster pulls, as the data folder of one registry.

A registry container with this folder at /var/lib/registry can stand behind several upstreams at
once: repositories have no host in their names, and no two upstreams share one here.
"""

import contextlib
import hashlib
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import requests

from host.console import say
from host.errors import SetupError
from host.locks import made_once
from host.paths import LOGS, tool_folder
from ops.registry.ping import wait_for_answer
from tests.real.talos.parts import kubernetes, node_image, userland
from tests.real.talos.parts.images import Image, Layer
from toolchain import node_runtime, registry_image
from toolchain.steps import progress

RECIPE = Path(__file__).parent
START_SECONDS = 30
REQUEST_SECONDS = 120
CONFIG = """\
version: 0.1
log:
  level: warn
storage:
  filesystem:
    rootdirectory: {folder}
http:
  addr: 127.0.0.1:{port}
"""


def upstream_data() -> Path:
    """The folder for /var/lib/registry, made unless it was before."""
    return made_once(tool_folder("talos-upstream", _recipe()) / "registry", _make)


def _recipe() -> str:
    """Changes with whatever goes into the images: sources and modules here, and the machine."""
    digest = hashlib.sha256(str(node_runtime.capability_missing()).encode())
    for path in (*sorted(RECIPE.rglob("*")), Path(node_runtime.__file__)):
        if path.suffix in (".go", ".mod", ".py", ".sum"):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _make(data: Path) -> None:
    say("putting the images of a Talos cluster into a registry's data folder, once")
    data.mkdir()
    with tempfile.TemporaryDirectory(dir=data.parent) as folder, _registry(data) as url:
        work = Path(folder)
        for module in (node_image, kubernetes, userland):
            for image in module.images(work):
                with progress(f"storing {image.repository}"):
                    _push(url, image)


@contextlib.contextmanager
def _registry(data: Path) -> Iterator[str]:
    """A registry of this machine's own on loopback; gives its URL."""
    port = _free_port()
    config = data.parent / "config.yml"
    config.write_text(CONFIG.format(folder=data, port=port))
    LOGS.mkdir(parents=True, exist_ok=True)
    with (LOGS / "talos-upstream.log").open("w") as log:
        server = subprocess.Popen(
            [registry_image.server(), "serve", config],
            env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            if why := wait_for_answer(url, START_SECONDS):
                raise SetupError(f"the registry that takes the images does not answer: {why}")
            yield url
        finally:
            server.terminate()
            server.wait()


def _push(url: str, image: Image) -> None:
    """Store an image, blobs first, as the distribution specification wants it."""
    base = f"{url}/v2/{image.repository}"
    for layer in image.layers:
        _push_layer(base, layer)
    config = image.blob()
    _upload(base, config.digest, config.content)
    manifest = image.manifest()
    for tag in image.tags:
        requests.put(
            f"{base}/manifests/{tag}",
            data=manifest.content,
            headers={"Content-Type": manifest.media_type},
            timeout=REQUEST_SECONDS,
        ).raise_for_status()


def _push_layer(base: str, layer: Layer) -> None:
    known = requests.head(f"{base}/blobs/{layer.digest}", timeout=REQUEST_SECONDS)
    if known.status_code != requests.codes.ok:
        with layer.path.open("rb") as content:
            _upload(base, layer.digest, content)


def _upload(base: str, digest: str, content: object) -> None:
    started = requests.post(f"{base}/blobs/uploads/", timeout=REQUEST_SECONDS)
    started.raise_for_status()
    requests.put(
        started.headers["Location"],
        params={"digest": digest},
        data=content,  # type: ignore[arg-type]  # bytes, or a file that is streamed
        headers={"Content-Type": "application/octet-stream"},
        timeout=REQUEST_SECONDS,
    ).raise_for_status()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
