"""Containers for one short task, removed however it ends."""

import math
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import docker
from docker.errors import DockerException

from ops.docker import api
from plan.ownership import PROJECT_LABEL
from plan.problems import PROJECT

LABEL = "talos-cache.passing"
# Other processes need about a second between create and start, and between end and removal.
ABANDONED_SECONDS = 60
REMOVE_SECONDS = 30


@contextmanager
def container(client: docker.DockerClient, image: str, **options: Any) -> Iterator[str]:
    """Create a container, not started yet, that is removed when the block ends; yields its id.

    Args:
        client: of the Docker that has the image.
        image: of the container.
        options: more options of `docker.APIClient.create_container`.

    Raises:
        ImageNotFound: Docker does not have the image.
        APIError: Docker refuses to create or to remove it.
    """
    _remove_abandoned(client)
    labels = {PROJECT_LABEL: PROJECT, LABEL: "true"}
    created: list[str] = []

    def create() -> None:
        created.append(client.api.create_container(image, labels=labels, **options)["Id"])

    # An interrupt ends the call, but not what Docker does. In another thread Docker's answer, with
    # the id to remove, is not lost.
    thread = ThreadPoolExecutor(max_workers=1)
    try:
        thread.submit(create).result()
        yield created[0]
    finally:
        thread.shutdown()
        for container_id in created:
            api.remove_until_gone(client, container_id, time.monotonic() + REMOVE_SECONDS)


def remove_from(client: docker.DockerClient, volumes: Collection[str]) -> None:
    """Remove those that a killed process left on volumes, which Docker could not remove otherwise.

    Args:
        client: of the Docker that has the volumes.
        volumes: names of volumes that are about to go, at least one (for none Docker lists all).

    Raises:
        DockerException: Docker does not answer.
    """
    _remove_idle(client, math.inf, volume=sorted(volumes))


def _remove_abandoned(client: docker.DockerClient) -> None:
    """Those whose process was killed before it could start them, or remove them."""
    _remove_idle(client, time.time() - ABANDONED_SECONDS)


def _remove_idle(client: docker.DockerClient, before: float, **filters: list[str]) -> None:
    for row in client.api.containers(all=True, filters={"label": LABEL, **filters}):
        if row["State"] != "running" and row["Created"] < before:
            with suppress(DockerException):  # another command does the same
                client.api.remove_container(row["Id"], force=True, v=True)
