"""An `up` changes nothing when nothing changed, on however many addresses a cache is published.

Docker reports the addresses of one port in an order of its own, and the provider compares a list.
"""

from tests.real.caches.conftest import PREFIX, embedded

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


def settle(checkout, upstream, *addresses):
    """Bring the stack up on these addresses, and once more: nothing may be left to do."""
    configure(checkout, upstream, *addresses)
    checkout.make("up", STACK)
    made = checkout.containers(STACK)
    checkout.pulumi("up", "--yes", "--expect-no-changes", stack=STACK)  # its preview, then itself
    assert checkout.containers(STACK) == made, "the second `up` touches no container"
    assert published(checkout, "docker.io") == {"127.0.0.1", *addresses}
    return set(made.values())


def published(checkout, host):
    container = checkout.client.containers.get(f"{NAME}-{host}")
    return {port["HostIp"] for port in container.ports["5000/tcp"]}


def test_a_second_up_changes_nothing_on_one_two_or_three_addresses(checkout, embedded_upstream):
    one = settle(checkout, embedded_upstream)
    two = settle(checkout, embedded_upstream, MORE[0])
    three = settle(checkout, embedded_upstream, *MORE)
    fewer = settle(checkout, embedded_upstream, MORE[1])
    everything = [*one, *two, *three, *fewer]
    assert len(set(everything)) == len(everything), "other addresses are another container"


def test_nor_after_caches_were_stopped_restarted_removed_or_made_by_hand(
    checkout, embedded_upstream
):
    settle(checkout, embedded_upstream, *MORE)
    checkout.client.containers.get(f"{NAME}-docker.io").stop(timeout=0)
    name = f"{NAME}-quay.io"
    cache = checkout.client.containers.get(name)
    image = cache.attrs["Config"]["Image"]
    cache.remove(force=True)
    by_hand = checkout.client.containers.create(image, name=name)
    refused = checkout.make("up", STACK, check=False)
    assert refused.returncode != 0
    assert f"The container {name} already exists" in refused.stdout + refused.stderr
    by_hand.remove()
    checkout.make("up", STACK)
    checkout.client.containers.get(name).restart(timeout=0)
    settle(checkout, embedded_upstream, *MORE)
