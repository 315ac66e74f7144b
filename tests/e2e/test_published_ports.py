"""An `up` changes nothing when nothing changed, on however many addresses a cache is published.

Docker reports the addresses of one port in an order of its own, and the provider compares a list.
"""

import pytest

from tests.e2e.conftest import PREFIX, embedded

STACK = "ports"
NAME = f"{PREFIX}-ports"
HOSTS = ("docker.io", "quay.io")
BASE_PORT = 15230
MORE = ("127.0.0.2", "127.0.0.3")


def configure(checkout, upstream, *addresses):
    checkout.write_stack(
        STACK,
        prefix=NAME,
        basePort=BASE_PORT,
        upstreams=embedded(upstream, HOSTS),
        addressing="127.0.0.1",
        bindAddresses=["127.0.0.1", *addresses],
    )


def settle(checkout):
    """Bring the stack up, and once more: nothing may be left to do in between."""
    checkout.make("up", STACK)
    made = checkout.containers(STACK)
    checkout.pulumi("preview", "--expect-no-changes", stack=STACK)
    checkout.make("up", STACK)
    assert checkout.containers(STACK) == made, "the second `up` touches no container"
    return made


def published(checkout, host):
    container = checkout.client.containers.get(f"{NAME}-{host}")
    return {port["HostIp"] for port in container.ports["5000/tcp"]}


@pytest.mark.parametrize("addresses", [(), MORE[:1], MORE], ids=["one", "two", "three"])
def test_a_second_up_changes_nothing(checkout, embedded_upstream, addresses):
    configure(checkout, embedded_upstream, *addresses)
    settle(checkout)
    assert published(checkout, "docker.io") == {"127.0.0.1", *addresses}


def test_nor_after_an_address_more_and_one_less(checkout, embedded_upstream):
    configure(checkout, embedded_upstream, *MORE)
    before = settle(checkout)
    configure(checkout, embedded_upstream, MORE[1])
    fewer = settle(checkout)
    assert set(fewer.values()).isdisjoint(before.values()), "another port is another container"
    configure(checkout, embedded_upstream, *reversed(MORE))
    settle(checkout)
    assert published(checkout, "docker.io") == {"127.0.0.1", *MORE}


def test_nor_after_containers_were_stopped_removed_and_made_by_hand(checkout, embedded_upstream):
    configure(checkout, embedded_upstream, *MORE)
    settle(checkout)
    name = f"{NAME}-quay.io"
    checkout.client.containers.get(f"{NAME}-docker.io").stop(timeout=0)
    cache = checkout.client.containers.get(name)
    image = cache.attrs["Config"]["Image"]
    cache.remove(force=True)
    by_hand = checkout.client.containers.create(image, name=name)
    refused = checkout.make("up", STACK, check=False)
    assert refused.returncode != 0
    assert f"There is a container {name} already" in refused.stdout + refused.stderr
    by_hand.remove()
    settle(checkout)


def test_nor_after_docker_started_a_cache_anew(checkout, embedded_upstream):
    configure(checkout, embedded_upstream, *MORE)
    settle(checkout)
    checkout.client.containers.get(f"{NAME}-docker.io").restart(timeout=0)
    settle(checkout)
