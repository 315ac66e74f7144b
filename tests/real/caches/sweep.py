"""Removes what tests that were killed have left in Docker: `python -m tests.real.caches.sweep`."""

from ops.docker import api
from plan.ownership import CHECKOUT_LABEL

PREFIX = "talos-cache-test"
# Where pytest puts the checkouts of tests: a demo of one of these was nobody's to keep.
TEMPORARY = "/pytest-of-"


def main() -> None:
    """Remove everything with the tests' prefix, and what is left of a demo in a test's checkout."""
    client = api.connect()
    api.remove_named(client, PREFIX)
    for container in api.containers(client):
        if TEMPORARY in dict(container.labels).get(CHECKOUT_LABEL, ""):
            client.api.remove_container(container.id, force=True, v=True)


if __name__ == "__main__":
    main()
