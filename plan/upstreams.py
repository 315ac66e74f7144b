"""The built-in upstream registries, and how a host becomes a name.

An *upstream registry* is the host in an image reference (`docker.io`); its *remote URL* is that of
the registry's API (`https://registry-1.docker.io`). Only for docker.io do the two differ.
"""

from dataclasses import dataclass

DEFAULT_BASE_PORT = 5000


@dataclass(frozen=True)
class KnownUpstream:
    """One row of the table: `port_offset` is added to `basePort`."""

    host: str
    remote_url: str
    port_offset: int


# The offsets never change: another port would replace a container that is otherwise the same.
# 5 is not used, as in the ports of Talos's own scripts.
KNOWN: dict[str, KnownUpstream] = {
    row.host: row
    for row in (
        KnownUpstream("docker.io", "https://registry-1.docker.io", 0),
        KnownUpstream("registry.k8s.io", "https://registry.k8s.io", 1),
        KnownUpstream("quay.io", "https://quay.io", 2),
        KnownUpstream("gcr.io", "https://gcr.io", 3),
        KnownUpstream("ghcr.io", "https://ghcr.io", 4),
        KnownUpstream("factory.talos.dev", "https://factory.talos.dev", 6),
    )
}

# The span that `basePort` must leave free above itself.
LARGEST_OFFSET = max(row.port_offset for row in KNOWN.values())


# Image references never have these hosts: clients normalise all of them to docker.io, so a mirror
# under one of them would never be used.
DOCKER_IO_ALIASES = frozenset(
    {"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"}
)


def slug(host: str) -> str:
    """`registry.k8s.io:443` -> `registry-k8s-io-443`: the logical name of a resource."""
    return host.replace(".", "-").replace(":", "-")


def physical_name(prefix: str, host: str) -> str:
    """`registry-docker.io`: the container and volume name that the Talos guide uses.

    A colon is not allowed in a Docker name, so `host:port` upstreams get a dash.
    """
    return f"{prefix}-{host.replace(':', '-')}"
