"""What a user should know of a stack that is right as it stands."""

from plan.settings.stack import Settings


def build(settings: Settings) -> tuple[str, ...]:
    """Sentences for the user."""
    return (*_on_the_wire(settings), *_behind_another_cache(settings))


def _on_the_wire(settings: Settings) -> tuple[str, ...]:
    if settings.cache_login is None or settings.cache.tls:
        return ()
    return (
        "cacheLogin crosses the network as it stands, for the caches answer by http. With "
        "cache.tls: true they answer by https.",
    )


def _behind_another_cache(settings: Settings) -> tuple[str, ...]:
    """What works at once, and what does not, where a Harbor is between a cache and its upstream."""
    below = [one for one in settings.cached if one.path_prefix]
    if not below or settings.offline:
        return ()
    asking = [one.host for one in below if not one.skip_fallback]
    failing = [one.host for one in below if one.skip_fallback]
    meanwhile = [
        *([f"nodes ask {_all(asking)} directly"] if asking else []),
        *([f"pulls of {_all(failing)} fail (skipFallback)"] if failing else []),
    ]
    return (
        f"{_all([one.host for one in below])}: with a proxy cache of Harbor's below pathPrefix, an "
        "image that Harbor does not hold yet does not come through this stack's cache until Harbor "
        "has stored it, some minutes after it was first asked for; until then "
        f"{' and '.join(meanwhile)}. warm has Harbor store it at once.",
    )


def _all(hosts: list[str]) -> str:
    return " and ".join([", ".join(hosts[:-1]), hosts[-1]] if len(hosts) > 1 else hosts)
