"""What a registry counts by itself, as its metrics say it in Prometheus's text format.

A cache counts `registry_proxy_...`, which knows hits and misses. A registry without an upstream
counts only `registry_http_...`. Both begin again with the process. Source: `registry/proxy/
proxymetrics.go` and `metrics/` of distribution v3.1.2.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

MANIFEST, BLOB = "manifest", "blob"
_LINE = re.compile(r"^(\w+)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_STARTED = "process_start_time_seconds"
_PROXY = "registry_proxy_{}_total"
_REQUESTS = "registry_http_requests_total"
_SIZES = "registry_http_response_size_bytes_sum"


@dataclass(frozen=True, kw_only=True)
class Count:
    """What was counted of manifests, or of blobs.

    Attributes:
        hits: requests answered from the volume.
        misses: requests for which the upstream was asked for the content.
        fetched: bytes from the upstream.
        served: bytes to clients; a request for a part of a blob counts as one for all of it.
    """

    hits: int = 0
    misses: int = 0
    fetched: int = 0
    served: int = 0

    @property
    def requests(self) -> int:
        """Requests that were answered."""
        return self.hits + self.misses


@dataclass(frozen=True, kw_only=True)
class Counters:
    """The counters of one cache.

    Attributes:
        since: when its process started, and began to count, in seconds since 1970, as it writes
            that. The container may be older: the watchdog in it restarts the process alone.
        manifests: of these; a request for the header of a manifest counts as one for all of it.
        blobs: of configs and layers.
    """

    since: str
    manifests: Count
    blobs: Count

    @property
    def fetched(self) -> int:
        """Bytes from the upstream."""
        return self.manifests.fetched + self.blobs.fetched

    @property
    def served(self) -> int:
        """Bytes to clients."""
        return self.manifests.served + self.blobs.served


def parse(text: str, *, has_upstream: bool = True) -> Counters:
    """Read a registry's metrics.

    Args:
        text: of its `/metrics`.
        has_upstream: whether it is a pull-through cache; if not, every answer is a hit.

    Raises:
        ValueError: a value is missing in them.
    """
    values = _values(text)
    count = _of_proxy if has_upstream else _of_registry
    try:
        return Counters(
            since=next(iter(values[_STARTED].values())),
            manifests=count(values, MANIFEST),
            blobs=count(values, BLOB),
        )
    except KeyError as error:
        raise ValueError(f"no {error} among the metrics") from error


# Name of a metric -> its labels -> value.
_Values = Mapping[str, Mapping[frozenset[tuple[str, str]], str]]


def _values(text: str) -> _Values:
    values: dict[str, dict[frozenset[tuple[str, str]], str]] = {}
    for name, labels, value in _LINE.findall(text):
        values.setdefault(name, {})[frozenset(_LABEL.findall(labels))] = value
    return values


def _of_proxy(values: _Values, kind: str) -> Count:
    def value(name: str) -> int:
        return int(float(values[_PROXY.format(name)][frozenset({("type", kind)})]))

    return Count(
        hits=value("hits"),
        misses=value("misses"),
        fetched=value("pulled_bytes"),
        served=value("pushed_bytes"),
    )


def _of_registry(values: _Values, kind: str) -> Count:
    """A metric of requests is not there before the first one."""
    answered = sum(
        int(float(value))
        for labels, value in values.get(_REQUESTS, {}).items()
        if ("handler", kind) in labels and any(key == "code" and code < "4" for key, code in labels)
    )
    sizes = values.get(_SIZES, {})
    return Count(hits=answered, served=int(float(sizes.get(frozenset({("handler", kind)}), 0))))
