"""What caches have fetched between two looks; tests/real/offline has real ones."""

import contextlib
import socket
import time

import httpx
import pytest

from ops.backends.cache_report import Report
from ops.backends.caches import _from_upstream
from ops.docker import cache_metrics
from ops.docker.cache_metrics import fetched_between
from ops.errors import OpsError
from ops.registry import fetch
from plan.caches.cache import Cache
from plan.traffic.counters import Count, Counters
from tests.fakes import busy_upstream
from tests.fakes.metrics import metrics
from tests.real_registry import running

CACHE = Cache(host="docker.io", name="registry-docker.io", local_endpoint="", image="registry")


def pulled(size, since="09:00"):
    return Counters(since=since, manifests=Count(), blobs=Count(fetched=size))


def test_it_is_the_sum_over_the_caches():
    assert fetched_between([pulled(100), pulled(7)], [pulled(150), pulled(7)]) == 50
    assert fetched_between([], []) == 0


def test_after_a_restart_it_is_not_known():
    before = [pulled(100), pulled(7)]
    for size in (0, 200):
        assert fetched_between(before, [pulled(150), pulled(size, since="10:00")]) is None


def test_a_cache_without_metrics_at_the_end_does_not_cost_the_report(monkeypatch):
    """The watchdog may restart its registry at that very moment."""

    def silent(*_):
        raise OpsError("no metrics")

    monkeypatch.setattr(cache_metrics, "counted", silent)
    monkeypatch.setattr("ops.backends.caches.wait_for_answer", lambda *_: "connection refused")
    assert _from_upstream(None, [CACHE], [pulled(100)]) is None


def report(upstream_bytes, unique_bytes):
    return Report(
        images=1,
        complete_before=0,
        upstream_bytes=upstream_bytes,
        unique_bytes=unique_bytes,
        seconds=1.0,
        failures=(),
    )


def test_the_ratio_is_printed_if_it_is_known():
    known, unknown = report(3_000_000, 2_000_000), report(None, 2_000_000)
    assert known.ratio == 1.5
    assert "from upstream: 3.0 MB, unique: 2.0 MB, ratio 1.50" in known.as_text()
    assert (unknown.ratio, report(0, 0).ratio) == (None, None)
    assert "from upstream: not known, " in unknown.as_text()
    assert "ratio" not in unknown.as_text()


@contextlib.contextmanager
def counting(folder, upstream):
    """A real cache; gives what its debug address says."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        debug = f"127.0.0.1:{free.getsockname()[1]}"
    settings = {
        "REGISTRY_PROXY_REMOTEURL": upstream.url,
        "REGISTRY_HTTP_DEBUG_ADDR": debug,
        "REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED": "true",
    }
    with running(folder, **settings) as registry:

        def said():
            return httpx.get(f"http://{debug}/metrics").text

        yield registry, said


def test_a_registry_that_was_restarted_counts_from_zero(tmp_path):
    """Also in a container that was not: the watchdog in it restarts the process alone."""
    with busy_upstream.running() as upstream:
        with counting(tmp_path, upstream) as (registry, said):
            fetch.manifest(fetch.source(f"{registry.url}/v2"), "team/a", "v1")
            first, second = cache_metrics.of_text("c", said()), cache_metrics.of_text("c", said())
        time.sleep(0.1)  # the time of its start is counted in hundredths
        with counting(tmp_path, upstream) as (_, said):
            restarted = cache_metrics.of_text("c", said())
    assert first == second
    assert first.fetched > 0
    assert restarted.fetched == 0
    assert restarted.since != first.since


@pytest.mark.parametrize(
    "said",
    [
        "404 page not found",
        'registry_proxy_pulled_bytes_total{type="blob"} 5\n',
        "process_start_time_seconds 1.7e+09\n",
    ],
)
def test_metrics_without_all_values_are_an_error(said):
    with pytest.raises(OpsError, match=r"^registry-x "):
        cache_metrics.of_text("registry-x", said)


class DockerDouble:
    """A double of a Docker whose container is the same, whatever runs in it."""

    def __init__(self):
        self.api = self

    def inspect_container(self, name):
        return {"State": {"StartedAt": "2026-11-27T08:00:00Z"}}


def test_it_is_the_program_that_counts_and_not_its_container(monkeypatch):
    seen = iter(["1.5e+09", "1.6e+09"])

    def execute(*_):
        text = metrics(blob_pulled=5).replace("1.7e+09", next(seen))
        return "id", iter([(1, text[:30].encode()), (1, text[30:].encode())])

    monkeypatch.setattr(cache_metrics, "execute", execute)
    before, after = (cache_metrics.counted(DockerDouble(), CACHE) for _ in range(2))
    assert before.fetched == after.fetched == 5
    assert fetched_between([before], [after]) is None
