"""What the stack file alone says about each cache: its endpoint, its container and its volume.

The day-two commands need no more. So `import` and `verify` work before the first `up`, while the
caches are stopped, and without the engine.
"""

from dataclasses import dataclass, replace

from plan.images.reference import ImageReference
from plan.network import LOOPBACK
from plan.settings.credentials import Credentials
from plan.settings.stack import Settings
from plan.settings.upstreams import UpstreamSettings
from plan.upstreams import physical_name


@dataclass(frozen=True, kw_only=True)
class Cache:
    """One pull-through cache.

    Attributes:
        host: its upstream registry, as in an image reference.
        name: of its container and its volume.
        local_endpoint: URL on this machine.
        image: the registry's image.
        path_prefix: prefix of the names of its repositories, at its upstream and so here too; lists
            of images leave it out, as image references on nodes do.
        login: the login for pulling from it; None if anyone may pull.
    """

    host: str
    name: str
    local_endpoint: str
    image: str
    path_prefix: str = ""
    login: Credentials | None = None

    def stored(self, repository: str) -> str:
        """The name of a repository in this cache."""
        return f"{self.path_prefix}/{repository}" if self.path_prefix else repository

    def referred(self, image: ImageReference) -> ImageReference:
        """An image of this cache by the name that nodes use for it."""
        return replace(image, repository=self.referred_to(image.repository))

    def referred_to(self, stored: str) -> str:
        """The name that image references have for a repository of this cache."""
        return stored.removeprefix(f"{self.path_prefix}/") if self.path_prefix else stored


def of_settings(settings: Settings) -> tuple[Cache, ...]:
    """The caches of a stack, ordered by host."""
    return tuple(of_upstream(settings, upstream) for upstream in settings.cached)


def of_upstream(settings: Settings, upstream: UpstreamSettings) -> Cache:
    """The cache of one upstream."""
    return Cache(
        host=upstream.host,
        name=physical_name(settings.prefix, upstream.host),
        local_endpoint=f"{scheme(settings)}://{LOOPBACK}:{upstream.port}",
        image=settings.cache.image,
        path_prefix=upstream.path_prefix,
        login=settings.cache_login,
    )


def scheme(settings: Settings) -> str:
    """The URL scheme of all caches of a stack."""
    return "https" if settings.cache.tls else "http"
