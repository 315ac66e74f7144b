"""Where the caches listen, and the host in their endpoints."""

import pytest

from plan.caches import addressing
from plan.settings.stack import parse
from tests.unit.plan.shapes import GATEWAY, planned_file


def test_docker_bridge_publishes_on_loopback_and_on_the_bridge_only():
    where = planned_file("minimal").where
    assert where.bind_addresses == ("127.0.0.1", GATEWAY)
    assert where.endpoint_host == GATEWAY
    assert where.warnings == (), "nothing is exposed, so there is nothing to warn of"


def test_docker_bridge_needs_the_gateway():
    settings = parse({})
    assert addressing.needs_bridge_gateway(settings)
    with pytest.raises(ValueError, match="gateway"):
        addressing.resolve(settings)


def test_an_explicit_address_needs_no_docker():
    settings = parse({"addressing": "192.168.1.10"})
    assert not addressing.needs_bridge_gateway(settings)
    assert addressing.resolve(settings).bind_addresses == ("127.0.0.1", "192.168.1.10")


def test_an_ipv6_address_is_normalised_and_in_brackets_in_a_url():
    plan = planned_file("address-ipv6")
    assert plan.where.bind_addresses == ("127.0.0.1", "fd00::10")
    assert plan.cache("docker.io").endpoint == "http://[fd00::10]:5000"


def test_loopback_is_published_once():
    where = planned_file("host-name-with-bind-addresses").where
    assert where.bind_addresses == ("127.0.0.1",), "Docker refuses the same port twice"
    assert where.endpoint_host == "host.docker.internal"


def test_every_address_leaves_no_room_for_others():
    where = planned_file("bound-to-every-address").where
    assert where.bind_addresses == ("0.0.0.0",), "any other address would find its port taken"
    assert "bindAddresses" in where.warnings[0], "the warning names the key that exposes"
    assert "docker-bridge" in where.warnings[0], "and what to do instead"


def test_qemu_bridge_is_the_first_address_of_the_cidr():
    where = planned_file("qemu-bridge").where
    assert where.endpoint_host == "10.6.0.1"
    assert where.bind_addresses == ("0.0.0.0",), "the bridge is not there before the cluster"
    assert "every address" in where.warnings[0]
    assert "docker-bridge" in where.warnings[0], "the warning says how not to expose anything"


def test_qemu_bridge_without_a_cluster_assumes_talosctls_default_network():
    assert planned_file("qemu-bridge-without-a-cluster").where.endpoint_host == "10.5.0.1"


def test_bind_addresses_override_what_qemu_bridge_implies():
    where = planned_file("qemu-bridge-on-a-named-address").where
    assert where.bind_addresses == ("127.0.0.1", "10.5.0.1")
    assert where.endpoint_host == "10.5.0.1"
    assert not where.warnings


def test_the_wildcard_of_ipv6_exposes_too():
    assert addressing.exposes_everywhere(("127.0.0.1", "::"))
    assert not addressing.exposes_everywhere(("127.0.0.1", "::1"))


@pytest.mark.parametrize(
    ("given", "published"),
    [
        (["::"], ("127.0.0.1", "::")),
        (["::", "fd00::1", "192.168.1.10"], ("127.0.0.1", "::", "192.168.1.10")),
        (["0.0.0.0", "fd00::1"], ("0.0.0.0", "fd00::1")),
        (["::", "0.0.0.0"], ("0.0.0.0", "::")),
    ],
    ids=str,
)
def test_a_wildcard_covers_its_own_family_only(given, published):
    where = addressing.resolve(parse({"bindAddresses": given}), GATEWAY)
    assert set(where.bind_addresses) == set(published), (
        "what is left out can't be reached, what is published twice makes Docker refuse"
    )
    assert len(where.bind_addresses) == len(published)


def test_an_ipv4_mapped_wildcard_exposes_too():
    chosen = parse({"bindAddresses": ["::ffff:0.0.0.0"]})
    where = addressing.resolve(chosen, GATEWAY)
    assert where.bind_addresses == ("0.0.0.0",)
    assert where.warnings, "it is as open as 0.0.0.0 itself"
