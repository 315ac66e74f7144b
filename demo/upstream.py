"""An upstream registry on this machine, filled with images made here.

It is a real registry (the same image as the caches', without a proxy section), published on
loopback and on the address of Docker's bridge, where the caches reach it.
"""

from dataclasses import dataclass, field
from pathlib import Path

import docker
import requests
from docker.models.containers import Container

from demo.images import Image
from ops.registry.ping import wait_for_answer

START_SECONDS = 30
REQUEST_SECONDS = 30


@dataclass(kw_only=True)
class Upstream:
    """The registry's container.

    Attributes:
        name: of the container.
        image: of the registry.
        address: where the caches reach it, besides loopback.
        port: on both addresses.
        data: folder of this machine that has its images already, mounted read-only.
    """

    client: docker.DockerClient
    name: str
    image: str
    address: str
    port: int
    labels: dict[str, str] = field(default_factory=dict)
    data: Path | None = None

    @property
    def url(self) -> str:
        """Remote URL for the caches."""
        return f"http://{self.address}:{self.port}"

    @property
    def local_url(self) -> str:
        """The same registry on loopback."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Create and start it, empty except for its data folder, and wait until it answers."""
        self.client.containers.run(
            self.image,
            name=self.name,
            detach=True,
            labels=self.labels,
            volumes=[f"{self.data}:/var/lib/registry:ro"] if self.data else [],
            environment={"OTEL_TRACES_EXPORTER": "none"},
            ports={"5000/tcp": [("127.0.0.1", self.port), (self.address, self.port)]},
        )
        self.wait()

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            TimeoutError: it does not answer in time.
        """
        if why := wait_for_answer(self.local_url, START_SECONDS):
            raise TimeoutError(f"the upstream {self.name} does not answer: {why}")

    def push(self, image: Image) -> None:
        """Store an image."""
        push(self.local_url, image)

    def stop(self) -> None:
        """Unplug it; its images are back after `plug_in`."""
        self._container().stop(timeout=1)

    def plug_in(self) -> None:
        """Start it again after `stop`."""
        self._container().start()
        self.wait()

    def remove(self) -> None:
        """Remove it with its images, if it exists."""
        try:
            self._container().remove(force=True, v=True)
        except docker.errors.NotFound:
            return

    def _container(self) -> Container:
        return self.client.containers.get(self.name)


def push(url: str, image: Image) -> None:
    """Store an image in a registry, blobs first, as the distribution specification requires."""
    base = f"{url}/v2/{image.repository}"
    for blob in image.blobs:
        started = requests.post(f"{base}/blobs/uploads/", timeout=REQUEST_SECONDS)
        started.raise_for_status()
        requests.put(
            started.headers["Location"],
            params={"digest": blob.digest},
            data=blob.content,
            timeout=REQUEST_SECONDS,
        ).raise_for_status()
    for manifest in image.manifests:
        reference = image.tag if manifest is image.manifests[-1] else manifest.digest
        requests.put(
            f"{base}/manifests/{reference}",
            data=manifest.content,
            headers={"Content-Type": manifest.media_type},
            timeout=REQUEST_SECONDS,
        ).raise_for_status()
