"""Metrics as a registry prints them; tests/unit/ops/test_traffic.py asks a real one."""

import pytest

from plan.traffic import counters
from plan.traffic.counters import Count

# Parts of what distribution v3.1.2 printed after three pulls, the first of them a miss.
CACHE = """\
# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.79585796673e+09
registry_http_requests_total{code="200",handler="blob",method="get"} 3
registry_http_response_size_bytes_sum{handler="blob"} 300047
registry_proxy_hits_total{type="blob"} 3
registry_proxy_hits_total{type="manifest"} 2
registry_proxy_misses_total{type="blob"} 2
registry_proxy_misses_total{type="manifest"} 1
registry_proxy_pulled_bytes_total{type="blob"} 1.00037e+05
registry_proxy_pulled_bytes_total{type="manifest"} 415
registry_proxy_pushed_bytes_total{type="blob"} 400037
registry_proxy_pushed_bytes_total{type="manifest"} 1245
registry_proxy_requests_total{type="blob"} 5
"""
# The same of one without an upstream.
OFFLINE = """\
process_start_time_seconds 1.8e+09
registry_http_requests_total{code="200",handler="blob",method="get"} 3
registry_http_requests_total{code="206",handler="blob",method="get"} 1
registry_http_requests_total{code="304",handler="manifest",method="get"} 1
registry_http_requests_total{code="404",handler="manifest",method="get"} 2
registry_http_response_size_bytes_sum{handler="blob"} 300010
registry_proxy_hits_total{type="blob"} 0
"""


def test_a_cache_counts_hits_misses_and_bytes_by_kind():
    read = counters.parse(CACHE)
    assert read.since == "1.79585796673e+09"
    assert read.blobs == Count(hits=3, misses=2, fetched=100_037, served=400_037)
    assert read.manifests == Count(hits=2, misses=1, fetched=415, served=1245)
    assert (read.fetched, read.served, read.blobs.requests) == (100_452, 401_282, 5)


def test_without_an_upstream_every_answer_is_a_hit():
    read = counters.parse(OFFLINE, has_upstream=False)
    assert read.blobs == Count(hits=4, served=300_010)
    assert read.manifests == Count(hits=1)


@pytest.mark.parametrize("line", [line for line in CACHE.splitlines() if "_proxy_" in line][:-1])
def test_a_missing_value_is_an_error(line):
    with pytest.raises(ValueError, match="among the metrics"):
        counters.parse(CACHE.replace(line, ""))


def test_so_is_a_missing_start():
    with pytest.raises(ValueError, match="process_start_time_seconds"):
        counters.parse(OFFLINE.partition("\n")[2], has_upstream=False)
