"""Containers that are there for one look only, and go whatever ends it."""

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
# Between being made and being started, or being over and being removed, others take a second.
ABANDONED_SECONDS = 60
REMOVE_SECONDS = 30


@contextmanager
def container(client: docker.DockerClient, image: str, **options: Any) -> Iterator[str]:
    """Make a container, not started yet, that is removed when the block ends; yields its id.

    Args:
        client: of the Docker that has the image.
        image: that it is made of.
        options: further ones of `docker.APIClient.create_container`.

    Raises:
        ImageNotFound: Docker does not have the image.
        APIError: it refuses to make it, or to remove it.
    """
    _remove_abandoned(client)
    labels = {PROJECT_LABEL: PROJECT, LABEL: "true"}
    made: list[str] = []

    def make() -> None:
        made.append(client.api.create_container(image, labels=labels, **options)["Id"])

    # Docker goes on where an interruption ends the call: in another thread its answer, which says
    # what is to be removed, is not lost.
    thread = ThreadPoolExecutor(max_workers=1)
    try:
        thread.submit(make).result()
        yield made[0]
    finally:
        thread.shutdown()
        for one in made:
            api.remove_until_gone(client, one, time.monotonic() + REMOVE_SECONDS)


def remove_from(client: docker.DockerClient, volumes: Collection[str]) -> None:
    """Remove those that a killed process left on volumes, which Docker would not remove otherwise.

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
