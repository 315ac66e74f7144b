"""Ports of this machine: what needs them, and what still has them."""

import pytest

from plan.host_ports import UDP, Held, HostPort, exposed, moves
from plan.problems import SettingsError
from plan.upstreams import slug
from tests.unit.plan.shapes import planned

UPSTREAMS = {"docker.io": {}, "quay.io": {}}


def port(number, address="127.0.0.1", protocol="tcp"):
    return HostPort(address=address, port=number, protocol=protocol)


@pytest.mark.parametrize(
    ("item", "wanted"),
    [
        ("8080:80/tcp", port(8080)),
        ("192.168.1.10:53:5353/udp", port(53, "192.168.1.10", UDP)),
        ("0.0.0.0:8080:80/tcp", port(8080, "0.0.0.0")),
    ],
)
def test_an_exposed_port_is_on_loopback_unless_it_says_otherwise(item, wanted):
    assert exposed(item) == wanted


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        (port(80), port(80), True),
        (port(80), port(81), False),
        (port(80), port(80, protocol=UDP), False),
        (port(80), port(80, "127.0.0.2"), False),
        (port(80), port(80, "0.0.0.0"), True),
        (port(80), port(80, "::"), False),
        (port(80, "::1"), port(80, "::"), True),
    ],
)
def test_two_clash_if_they_can_not_be_published_together(one, other, clash):
    assert one.clashes(other) == clash
    assert other.clashes(one) == clash


def told(clusters, **config):
    with pytest.raises(SettingsError) as caught:
        planned({"cluster": clusters, "upstreams": UPSTREAMS, **config})
    return {problem.path: problem for problem in caught.value.problems}


def test_a_port_of_a_cache_is_not_exposed_too():
    found = told({"exposedPorts": ["5001:80/tcp", "5002:80/tcp", "5002:80/udp"]})
    assert list(found) == ["cluster.exposedPorts[1]"]
    problem = found["cluster.exposedPorts[1]"]
    assert problem.found == '"5002:80/tcp"'
    assert "the cache of quay.io" in problem.rule


def test_a_cache_has_its_port_on_the_bridge_too():
    ports = ["172.17.0.1:5000:80/tcp", "172.17.0.2:5000:80/tcp", "0.0.0.0:5002:80/tcp"]
    assert set(told({"exposedPorts": ports})) == {
        "cluster.exposedPorts[0]",
        "cluster.exposedPorts[2]",
    }


def test_two_clusters_do_not_expose_one_port_nor_one_cluster_twice():
    clusters = [
        {"name": "one", "cidr": "10.5.0.0/24", "exposedPorts": ["8080:80/tcp", "8080:81/tcp"]},
        {"name": "two", "cidr": "10.6.0.0/24", "exposedPorts": ["0.0.0.0:8080:80/tcp"]},
    ]
    found = told(clusters)
    assert list(found) == ["cluster[0].exposedPorts[1]", "cluster[1].exposedPorts[0]"]
    assert all("cluster[0].exposedPorts[0]" in problem.rule for problem in found.values())


def test_free_ports_are_accepted():
    ports = ["8080:80/tcp", "8080:80/udp", "127.0.0.2:5000:80/tcp"]
    assert planned({"cluster": {"exposedPorts": ports}}).clusters


def moved(held, logical=None, **config):
    """What moves; containers have the default prefix, except for those with a name in `logical`."""
    plan = planned({"upstreams": UPSTREAMS, **config})
    names = {name: f"{slug(name.removeprefix('registry-'))}-container" for name in held}
    names |= logical or {}
    there = [
        Held(container=name, logical=names[name], ports=[port(one) for one in ports])
        for name, ports in held.items()
    ]
    found = moves(there, plan.caches, plan.settings.clusters)
    return {(move.container, move.port.port, move.by) for move in found}


AS_THEY_ARE = {"registry-docker.io": [5000], "registry-quay.io": [5002]}


def test_nothing_moves_if_every_cache_keeps_its_port():
    assert moved(AS_THEY_ARE) == set()
    assert moved({}) == set()


def test_a_cache_that_is_removed_frees_its_port():
    held = {**AS_THEY_ARE, "registry-old.example.com": [5010]}
    upstreams = {**UPSTREAMS, "new.example.com": {"remoteUrl": "https://new", "port": 5010}}
    assert moved(held, upstreams=upstreams) == {
        ("registry-old.example.com", 5010, "the cache of new.example.com")
    }
    assert moved(held) == set(), "if nothing needs its port it is removed like any other"


def test_two_caches_that_swap_their_ports():
    upstreams = {"docker.io": {"port": 5002}, "quay.io": {"port": 5000}}
    assert moved(AS_THEY_ARE, upstreams=upstreams) == {
        ("registry-quay.io", 5002, "the cache of docker.io"),
        ("registry-docker.io", 5000, "the cache of quay.io"),
    }


def test_a_cache_whose_name_changes_with_the_prefix_is_still_itself():
    assert moved(AS_THEY_ARE, prefix="mirror") == set()
    for before, now in (("registry-a", "registry-a-b"), ("mirror-x", "mirror")):
        name = f"{before}-docker.io"
        assert moved({name: [5000]}, {name: "docker-io-container"}, prefix=now) == set()


def test_without_a_logical_name_the_containers_own_name_counts():
    held = {"registry-docker.io": [5000], "registry-gcr.io": [5002]}
    assert moved(held, dict.fromkeys(held, "")) == {
        ("registry-gcr.io", 5002, "the cache of quay.io")
    }


def test_a_host_that_ends_like_another_is_not_the_same():
    assert moved({"registry-my-docker.io": [5000]}) == {
        ("registry-my-docker.io", 5000, "the cache of docker.io")
    }


def test_a_cluster_may_get_the_port_of_a_cache_that_is_removed():
    held = {"registry-docker.io": [5000], "registry-gcr.io": [5003]}
    assert moved(held, cluster={"name": "dev", "exposedPorts": ["5003:80/tcp"]}) == {
        ("registry-gcr.io", 5003, "the cluster dev")
    }


def test_a_move_says_what_to_do():
    [move] = moves(
        [Held(container="registry-old", logical="old-container", ports=[port(5000)])],
        planned({"upstreams": {"docker.io": {}}}).caches,
        (),
    )
    assert str(move).startswith("Port 5000 of 127.0.0.1, for the cache of docker.io, is ")
    assert "docker rm -f registry-old, then up again" in str(move)
    assert str(port(53, protocol=UDP)) == "Port 53/udp of 127.0.0.1"
