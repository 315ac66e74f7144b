"""Removes what tests that were killed have left in Docker: `python -m tests.e2e.sweep`."""

from ops import docker_api

PREFIX = "talos-cache-test"


def main() -> None:
    """Remove every container and volume that carries the tests' prefix."""
    docker_api.remove_named(docker_api.connect(), PREFIX)


if __name__ == "__main__":
    main()
