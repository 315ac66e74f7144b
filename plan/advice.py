"""What a user should know of a stack that is right as it stands."""

from plan.settings import Settings


def build(settings: Settings) -> tuple[str, ...]:
    """Sentences for the user."""
    if settings.cache_login is None or settings.cache.tls:
        return ()
    return (
        "cacheLogin crosses the network as it stands, for the caches answer by http. With "
        "cache.tls: true they answer by https.",
    )
