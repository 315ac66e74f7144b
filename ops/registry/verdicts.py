"""What is asked of an upstream, and what came of it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from plan.settings.caches import UpstreamProxy
from plan.settings.credentials import Credentials
from plan.traffic.rate_limit import RateLimit
from plan.upstreams import KNOWN

if TYPE_CHECKING:
    import httpx

# A repository and a tag that exist, or did, and cost no one anything; the one of docker.io is the
# one that its documentation of the limit names. Elsewhere one that does not exist tells enough.
KNOWN_IMAGES = {
    "docker.io": ("ratelimitpreview/test", "latest"),
    "registry.k8s.io": ("pause", "3.10"),
    "quay.io": ("prometheus/busybox", "latest"),
    "gcr.io": ("distroless/static", "latest"),
    "ghcr.io": ("siderolabs/kubelet", "latest"),
}
ANY_IMAGE = ("talos-cache/question", "latest")
# No one has it. Below a path, and in a project of Harbor, it is asked for a blob.
NO_REPOSITORY = "library/talos-cache"


@dataclass(frozen=True, kw_only=True)
class Question:
    """Whether images can be pulled from an upstream with these credentials.

    Attributes:
        host: upstream registry, as in an image reference.
        remote_url: of its API, without a slash at the end.
        credentials: None for anonymous pulls.
        from_docker: whether they are from the user's Docker configuration.
        path_prefix: of its repositories. An upstream that has one may be a Harbor, which fetches
            every manifest that it is asked for.
        ca_pem: certificates to trust besides the public authorities; empty for none.
        proxy: on the way to it.
    """

    host: str
    remote_url: str
    credentials: Credentials | None = field(default=None, repr=False)
    from_docker: bool = False
    path_prefix: str = ""
    ca_pem: str = ""
    proxy: UpstreamProxy | None = None

    @property
    def login(self) -> "httpx.BasicAuth | None":
        """The credentials, as they are sent."""
        import httpx  # takes a quarter of a second, and offline no one is asked

        if not self.credentials or not self.credentials.password:
            return None
        return httpx.BasicAuth(self.credentials.username, self.credentials.password)

    @property
    def known_image(self) -> tuple[str, str] | None:
        """A repository and a tag that exist; None if that is not known, as of a mirror."""
        known = KNOWN.get(self.host)
        if self.path_prefix or known is None or self.remote_url != known.remote_url:
            return None
        return KNOWN_IMAGES.get(self.host)

    @property
    def repository(self) -> str:
        """One to ask for, if possible one that exists; without the path before all of them."""
        if self.path_prefix:
            return NO_REPOSITORY
        return (self.known_image or ANY_IMAGE)[0]

    def below_path(self, repository: str) -> str:
        """A repository's name at the upstream."""
        return f"{self.path_prefix}/{repository}" if self.path_prefix else repository


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What an upstream's answers come to. None contains a secret.

    Attributes:
        host: upstream registry.
        reason: half a sentence about it.
        fix: what to do.
    """

    host: str
    reason: str = ""
    fix: str = ""
    start: ClassVar[str] = ""

    def __str__(self) -> str:
        return f"{self.start.format(self.host)} {self.reason}; {self.fix}"


@dataclass(frozen=True, kw_only=True)
class Accepted(Verdict):
    """Images can be pulled: the upstream accepts the credentials, or needs none.

    Attributes:
        limit: on pulls with these credentials, or from this address; None if it names none.
    """

    limit: RateLimit | None = None


class Refused(Verdict):
    """The upstream, or its token service, refuses the credentials: with any, `up` fails."""

    start = "{} refuses the credentials"


class Untrusted(Refused):
    """Its certificate is not trusted, so nothing was sent: a cache would fail as well."""

    start = "{} has a certificate that is not trusted"


class Useless(Verdict):
    """It answers, but nothing can be pulled: a cache serves only what it has."""

    start = "nothing can be pulled from {}:"


class Partial(Useless):
    """Not everything can be pulled, with credentials that are right."""

    start = "not everything can be pulled from {}:"


class Unreachable(Verdict):
    """No connection to it was possible, as without a network."""

    start = "{} could not be asked whether images can be pulled:"
