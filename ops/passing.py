"""Containers that are there for one look only, and go whatever ends it."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import docker
from docker.errors import DockerException

from ops.docker_api import PROJECT_LABEL
from ops.stack_files import PROJECT

LABEL = "talos-cache.passing"
# Between being made and being started, or being over and being removed, others take a second.
ABANDONED_SECONDS = 60


@contextmanager
def container(client: docker.DockerClient, image: str, **options: Any) -> Iterator[str]:
    """Make a container, not started yet, that is removed when the block ends; yields its id.

    Args:
        client: of the Docker that has the image.
        image: that it is made of.
        options: further ones of `docker.APIClient.create_container`.

    Raises:
        ImageNotFound: Docker does not have the image.
        APIError: it refuses.
    """
    _remove_abandoned(client)
    labels = {PROJECT_LABEL: PROJECT, LABEL: "true"}
    with ThreadPoolExecutor(max_workers=1) as thread:
        # Docker goes on where an interruption ends the call: in another thread its answer, which
        # says what is to be removed, is not lost.
        making = thread.submit(client.api.create_container, image, labels=labels, **options)
        try:
            yield making.result()["Id"]
        finally:
            if making.exception() is None:
                # It may be going by itself.
                with suppress(DockerException):
                    client.api.remove_container(making.result()["Id"], force=True, v=True)


def _remove_abandoned(client: docker.DockerClient) -> None:
    """Those whose process was killed before it could start them, or remove them."""
    now = time.time()
    for row in client.api.containers(all=True, filters={"label": LABEL}):
        if row["State"] != "running" and now - row["Created"] > ABANDONED_SECONDS:
            with suppress(DockerException):  # another command does the same
                client.api.remove_container(row["Id"], force=True, v=True)
