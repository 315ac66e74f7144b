"""The table of built-in upstreams: users rely on every row."""

import pytest

from plan.network import address_of
from plan.upstreams import (
    DOCKER_IO_ALIASES,
    KNOWN,
    physical_name,
    slug,
)


def test_the_table_never_moves_a_port():
    offsets = {host: row.port_offset for host, row in KNOWN.items()}
    assert offsets == {
        "docker.io": 0,
        "registry.k8s.io": 1,
        "quay.io": 2,
        "gcr.io": 3,
        "ghcr.io": 4,
        "factory.talos.dev": 6,
    }, "a port that moves replaces the containers of everyone who upgrades"


def test_docker_io_is_served_under_another_name():
    assert KNOWN["docker.io"].remote_url == "https://registry-1.docker.io"
    others = {row.remote_url for host, row in KNOWN.items() if host != "docker.io"}
    assert others == {f"https://{host}" for host in KNOWN if host != "docker.io"}


def test_no_built_in_upstream_has_a_host_that_references_never_have():
    assert not DOCKER_IO_ALIASES & set(KNOWN)


def test_names_of_built_in_upstreams_are_distinct():
    assert len({slug(host) for host in KNOWN}) == len(KNOWN)


def test_names_contain_no_colon():
    assert slug("registry.lan:5000") == "registry-lan-5000"
    assert physical_name("registry", "registry.lan:5000") == "registry-registry.lan-5000"


def test_a_url_has_a_port_or_implies_one():
    assert address_of("http://172.17.0.1:5000/v2") == ("172.17.0.1", 5000)
    assert address_of("https://registry-1.docker.io") == ("registry-1.docker.io", 443)
    assert address_of("http://[fd00::1]") == ("fd00::1", 80)


@pytest.mark.parametrize("url", ["ftp://somewhere", "172.17.0.1:5000", "http://", "http://a:port"])
def test_what_is_not_a_url_of_a_web_server_is_refused(url):
    with pytest.raises(ValueError, match=r"http or https|Port could not be cast"):
        address_of(url)
