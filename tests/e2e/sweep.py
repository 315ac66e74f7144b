"""Removes what tests that were killed have left in Docker: `python -m tests.e2e.sweep`."""

from ops import docker_api

PREFIX = "talos-cache-test"


def main() -> None:
    """Remove every container and volume that carries the tests' prefix."""
    client = docker_api.connect()
    for container in docker_api.containers(client):
        if container.name.startswith(PREFIX):
            client.api.remove_container(container.id, force=True, v=True)
    for volume in client.volumes.list():
        if volume.name.startswith(PREFIX):
            volume.remove()


if __name__ == "__main__":
    main()
