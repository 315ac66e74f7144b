"""What a stack needs in Harbor."""

import re
from dataclasses import dataclass, field

from plan.upstreams import KNOWN

DEFAULT_ROBOT_PREFIX = "robot$"
# What Harbor accepts as the name of a project, or of a robot without its prefix.
NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_ANY_URL = "docker-registry"
# Harbor's types for one upstream each, if they are useful for a proxy cache. docker-hub looks for
# images with a one-part name in `library/`, and has its own URL. `quay` can't be used for a proxy
# cache since v2.14, and `google-gcr` counts as unhealthy without credentials: these upstreams are
# plain registries here.
_TYPES = {
    KNOWN["docker.io"].remote_url: ("docker-hub", "https://hub.docker.com"),
    KNOWN["ghcr.io"].remote_url: ("github-ghcr", KNOWN["ghcr.io"].remote_url),
}


@dataclass(frozen=True, kw_only=True)
class HarborProject:
    """A proxy-cache project and the registry endpoint behind it.

    Attributes:
        host: of the upstream, as in an image reference.
        name: of the project.
        registry_name: of the endpoint.
        registry_type: Harbor's name for the kind of upstream.
        remote_url: of the upstream, as Harbor needs it.
        username: for the upstream; empty for none.
        password: or token, for the upstream.
    """

    host: str
    name: str
    registry_name: str
    registry_type: str
    remote_url: str
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class HarborPlan:
    """What a stack needs in a Harbor.

    Attributes:
        stack: name of the stack.
        owner: distinguishes this stack from others with its name.
        url: of the Harbor, without a path.
        ca_pem: CA certificates to trust for it, besides those of this machine.
        projects: one for each upstream that Harbor caches.
        public: whether anyone may pull from them.
        retention_days: how long to keep an image that no one pulls; None for forever.
        quota_bytes: of each project; None for no limit.
        robot: full name of the account that nodes pull with, prefix included; empty for none.
        robot_secret: its password.
        username: of an administrator.
        password: of the administrator.
        keep_data: whether projects with images outlive the stack.
    """

    stack: str
    owner: str
    url: str
    ca_pem: str
    projects: tuple[HarborProject, ...]
    public: bool
    retention_days: int | None
    quota_bytes: int | None
    robot: str
    robot_secret: str = field(default="", repr=False)
    username: str
    password: str = field(repr=False)
    keep_data: bool

    @property
    def mark(self) -> str:
        """The description of everything that this stack creates."""
        return f"made by talos-cache, stack {self.stack} ({self.owner})"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Everything that must never be shown."""
        every = (self.password, self.robot_secret, *(one.password for one in self.projects))
        return tuple(secret for secret in every if secret)


def upstream_endpoint(host: str, remote_url: str) -> tuple[str, str]:
    """Type and URL of the registry endpoint for an upstream.

    Args:
        host: of the upstream, as in an image reference.
        remote_url: of its API; with a URL other than the usual one it is a plain registry.
    """
    known = KNOWN.get(host)
    if known and known.remote_url == remote_url and remote_url in _TYPES:
        return _TYPES[remote_url]
    return _ANY_URL, remote_url


def mirror_url(url: str, project: str) -> str:
    """The mirror's URL for nodes, which need `overridePath`: it already contains /v2."""
    return f"{url.rstrip('/')}/v2/{project}"


def is_robot_secret(text: str) -> bool:
    """Whether Harbor accepts it as a robot's secret: 8 to 128 characters of three kinds."""
    return 8 <= len(text) <= 128 and all(
        re.search(kind, text) for kind in ("[a-z]", "[A-Z]", r"\d")
    )
