"""What a user should know about a stack without mistakes."""

from plan.settings.stack import Settings


def build(settings: Settings) -> tuple[str, ...]:
    """Sentences for the user."""
    return (*_on_the_wire(settings), *_behind_another_cache(settings))


def _on_the_wire(settings: Settings) -> tuple[str, ...]:
    if settings.cache_login is None or settings.cache.tls:
        return ()
    return (
        "cacheLogin crosses the network unencrypted, because the caches serve HTTP. With "
        "cache.tls: true they serve HTTPS.",
    )


def _behind_another_cache(settings: Settings) -> tuple[str, ...]:
    """What works at once, and what doesn't, if a cache's upstream is a Harbor."""
    below = [one for one in settings.cached if one.path_prefix]
    if not below or settings.offline:
        return ()
    falling_back = [one.host for one in below if not one.skip_fallback]
    failing = [one.host for one in below if one.skip_fallback]
    meanwhile = [
        *([f"nodes pull from {_all(falling_back)} directly"] if falling_back else []),
        *([f"pulls from {_all(failing)} fail (skipFallback)"] if failing else []),
    ]
    return (
        f"{_all([one.host for one in below])}: if pathPrefix leads to a proxy cache of Harbor, an "
        "image that Harbor doesn't have yet comes through this stack's cache only after Harbor has "
        f"stored it, some minutes after the first pull; until then {' and '.join(meanwhile)}. warm "
        "makes Harbor store it at once.",
    )


def _all(hosts: list[str]) -> str:
    return " and ".join([", ".join(hosts[:-1]), hosts[-1]] if len(hosts) > 1 else hosts)
