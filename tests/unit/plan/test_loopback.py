"""URLs with which a container reaches only itself: each spelling is refused, with a fix."""

import pytest

from plan.loopback import is_loopback
from plan.problems import SettingsError
from tests.unit.plan.shapes import parse, planned

SPELLINGS = (
    "localhost",
    "LocalHost",
    "localhost.",
    "registry.localhost",
    "localhost.localdomain",
    "localhost6",
    "ip6-localhost",
    "ip6-loopback",
    "127.0.0.1",
    "127.9.8.7",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "0",
    "0x",
    "0.0.0.0",
    "::1",
    "0:0:0:0:0:0:0:1",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:0.0.0.0",
)


@pytest.mark.parametrize("host", SPELLINGS)
def test_every_spelling_is_known(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "172.17.0.1",
        "registry.example.com",
        "localhost.example.com",
        "notlocalhost",
        "128.1",
        "127.0.0.256",
        "127.256.1",
        "256.1",
        "08.1",
        "4294967296",
        "1.2.3.4.5",
        "127.0.0.one",
        "fd00::1",
        "::ffff:172.17.0.1",
        "",
    ],
)
def test_what_is_not_loopback(host):
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["LocalHost", "0x7f.1", "[::ffff:127.0.0.1]"])
def test_an_upstream_is_never_the_cache_itself(host):
    url = f"http://{host}:5000"
    with pytest.raises(SettingsError) as caught:
        parse({"upstreams": {"team.example.com": {"remoteUrl": url, "port": 5010}}})
    (problem,) = caught.value.problems
    assert problem.path == "upstreams.team.example.com.remoteUrl"
    assert problem.found == f'"{url}"'
    assert "the container itself" in problem.rule
    assert '"http://172.17.0.1:5000"' in problem.fix
    assert "localhost" not in problem.fix
    assert "127." not in problem.fix


def test_the_port_that_the_scheme_implies_is_named():
    with pytest.raises(SettingsError, match=r'"https://172\.17\.0\.1:443"'):
        parse({"upstreams": {"docker.io": {"remoteUrl": "https://localhost"}}})


def test_a_proxy_is_never_the_cache_itself():
    with pytest.raises(SettingsError) as caught:
        parse({"upstreamProxy": {"url": "http://127.0.0.1:3128"}})
    (problem,) = caught.value.problems
    assert problem.path == "upstreamProxy.url"
    assert '"http://172.17.0.1:3128"' in problem.fix


@pytest.mark.parametrize("url", ["http://localhost:5000", "http://[::1]"])
def test_an_upstream_behind_harbor_is_never_harbor_itself(url):
    upstreams = {"docker.io": {"backend": "harbor", "remoteUrl": url}}
    with pytest.raises(SettingsError) as caught:
        parse({"harbor": {"url": "https://harbor.example.com"}, "upstreams": upstreams})
    (problem,) = caught.value.problems
    assert problem.path == "upstreams.docker.io.remoteUrl"
    assert "Harbor" in problem.rule
    assert "172.17.0.1" not in problem.fix, "Harbor is not on this machine"


def test_a_harbor_is_never_the_node_itself():
    with pytest.raises(SettingsError) as caught:
        parse(
            {
                "harbor": {"url": "http://localhost:8080"},
                "upstreams": {"docker.io": {"backend": "harbor"}},
            }
        )
    (problem,) = caught.value.problems
    assert problem.path == "harbor.url"
    assert "nodes" in problem.rule


@pytest.mark.parametrize("host", ["localhost:5000", "localhost", "127.0.0.1:5000"])
def test_no_fix_proposes_loopback(host):
    with pytest.raises(SettingsError) as caught:
        parse({"upstreams": {host: {}}})
    fixes = " ".join(problem.fix for problem in caught.value.problems)
    assert 'remoteUrl: "http://172.17.0.1' in fixes
    assert "localhost" not in fixes


def test_the_fix_for_a_proxy_that_requires_a_login_is_not_on_loopback():
    with pytest.raises(SettingsError, match="Docker's bridge"):
        parse({"upstreamProxy": {"url": "http://me:secret@proxy.example.com:3128"}})


EVERYWHERE = {"addressing": "192.0.2.7", "bindAddresses": ["0.0.0.0"]}


@pytest.mark.parametrize(
    ("more", "url"),
    [
        ({}, "http://172.17.0.1:5010"),
        ({}, "http://172.17.0.1:5000"),
        ({}, "http://[::ffff:172.17.0.1]:5010"),
        ({"addressing": "192.0.2.7"}, "http://192.0.2.7:5010"),
        (
            {"addressing": "caches.example.com", "bindAddresses": ["192.0.2.7"]},
            "http://caches.EXAMPLE.com:5010",
        ),
        ({"bindAddresses": ["192.0.2.7"]}, "http://192.0.2.7:5010"),
        (EVERYWHERE, "http://172.17.0.1:5010"),
        (EVERYWHERE, "http://host.docker.internal:5010"),
        ({"addressing": "qemu-bridge"}, "http://172.17.0.1:5010"),
    ],
)
def test_an_upstream_is_not_one_of_the_stacks_own_caches(more, url):
    upstreams = {"docker.io": {}, "team.example.com": {"remoteUrl": url, "port": 5010}}
    with pytest.raises(SettingsError) as caught:
        planned({**more, "upstreams": upstreams})
    (problem,) = caught.value.problems
    assert problem.path == "upstreams.team.example.com.remoteUrl"
    assert url in problem.found
    assert "cache of" in problem.rule


@pytest.mark.parametrize("more", [{}, EVERYWHERE])
def test_another_port_of_the_bridge_is_not_the_stacks(more):
    upstreams = {"team.example.com": {"remoteUrl": "http://172.17.0.1:5011", "port": 5010}}
    assert planned({**more, "upstreams": upstreams}).cache("team.example.com")


def test_the_bridge_is_not_the_stacks_if_its_caches_are_on_another_address():
    upstreams = {"team.example.com": {"remoteUrl": "http://172.17.0.1:5010", "port": 5010}}
    assert planned({"addressing": "192.0.2.7", "upstreams": upstreams}).cache("team.example.com")


def test_a_proxy_is_not_one_of_the_stacks_own_caches():
    with pytest.raises(SettingsError, match=r"upstreamProxy\.url"):
        planned({"upstreamProxy": {"url": "http://172.17.0.1:5000"}})
