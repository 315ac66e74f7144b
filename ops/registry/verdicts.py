"""What is asked of an upstream, and what came of it."""

from dataclasses import dataclass, field
from typing import TypeAlias

import httpx

from ops.registry.fetch import NO_BLOB
from plan.upstreams import KNOWN

# A repository and a tag that are there, or were, and cost nobody anything; the one of docker.io is
# what its documentation of the limit names. Elsewhere one that is not there says enough.
KNOWN_IMAGES = {
    "docker.io": ("ratelimitpreview/test", "latest"),
    "registry.k8s.io": ("pause", "3.10"),
    "quay.io": ("prometheus/busybox", "latest"),
    "gcr.io": ("distroless/static", "latest"),
    "ghcr.io": ("siderolabs/kubelet", "latest"),
}
ANY_IMAGE = ("talos-cache/question", "latest")


@dataclass(frozen=True, kw_only=True)
class Question:
    """Whether an upstream can be pulled from, with these credentials.

    Attributes:
        host: upstream registry, as in an image reference.
        remote_url: where its API is, without a slash at the end.
        username: may be a secret as well; empty for nobody.
        password: or token.
        from_docker: whether these two are from the user's Docker configuration.
        path_prefix: of its repositories. One that has it may be a Harbor, which fetches manifests
            that it is asked for.
        ca_pem: certificates to trust beside the public authorities; empty for none.
        proxy_url: of a forward proxy, which may have a password in it; empty for none.
        no_proxy: who is asked without it, see `plan.network.is_used`.
    """

    host: str
    remote_url: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    from_docker: bool = False
    path_prefix: str = ""
    ca_pem: str = ""
    proxy_url: str = field(default="", repr=False)
    no_proxy: tuple[str, ...] = ()

    @property
    def login(self) -> httpx.BasicAuth | None:
        """What it is asked with; None for anonymous pulls."""
        return httpx.BasicAuth(self.username, self.password) if self.password else None

    @property
    def known_image(self) -> tuple[str, str] | None:
        """A repository and a tag that are there; None where nobody knows, as of a mirror."""
        known = KNOWN.get(self.host)
        if self.path_prefix or known is None or self.remote_url != known.remote_url:
            return None
        return KNOWN_IMAGES.get(self.host)

    @property
    def repository(self) -> str:
        """Of these one that is there, where somebody knows; without what stands before all."""
        if self.path_prefix:
            return NO_BLOB.partition("/blobs/")[0]
        return (self.known_image or ANY_IMAGE)[0]


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """Images can be pulled: the upstream takes the credentials, or asks for none."""

    host: str


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The upstream, or its token service, does not take them.

    Attributes:
        host: upstream registry.
        status: 401 or 403.
        words: the upstream's own, without secrets; or why the credentials were not sent.
        fix: what to do.
    """

    host: str
    status: int
    words: str
    fix: str

    def __str__(self) -> str:
        return f"{self.host} refuses the credentials ({self.status}): {self.words}; {self.fix}"


@dataclass(frozen=True, kw_only=True)
class Useless:
    """It answers, and nothing can be pulled: a cache serves only what it has.

    Attributes:
        host: upstream registry.
        reason: as a half sentence about it.
        fix: what to do.
        what: can be pulled.
    """

    host: str
    reason: str
    fix: str
    what: str = "nothing"

    def __str__(self) -> str:
        return f"{self.what} can be pulled from {self.host}: {self.reason}; {self.fix}"


@dataclass(frozen=True, kw_only=True)
class Untrusted:
    """The certificate is not to be trusted, so nothing was sent: a cache would fail as well."""

    host: str
    words: str
    fix: str

    def __str__(self) -> str:
        return f"{self.host} has a certificate that is not trusted ({self.words}): {self.fix}"


@dataclass(frozen=True, kw_only=True)
class Unreachable:
    """No connection to it came about, as where there is no network."""

    host: str
    reason: str

    def __str__(self) -> str:
        asked = f"{self.host} could not be asked whether images can be pulled: {self.reason}"
        keys = f"upstreams.{self.host}.remoteUrl and upstreamProxy"
        return f"{asked}; check this machine's network, {keys}"


Verdict: TypeAlias = Accepted | Refused | Useless | Untrusted | Unreachable
