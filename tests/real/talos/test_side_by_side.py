"""Two clusters of one stack, side by side on one set of caches; Talos 1.11, without Kubernetes.

The tests are one story and run in order.
"""

import pytest

from tests.real.caches.sweep import PREFIX
from tests.real.talos import stories
from tests.real.talos.stories import NOTHING_LEFT, hosts_toml, left_of, node_ips, soon, stack_config

STACK = "two"
ONE, TWO = f"{PREFIX}-{STACK}-one", f"{PREFIX}-{STACK}-two"
CIDRS = {ONE: "10.73.0.0/24", TWO: "10.74.0.0/24"}
PORT = 15340


@pytest.fixture(scope="module")
def up(clusters):
    clusters.use_talosctl("1.11.5")
    config = stack_config(STACK, clusters.upstream, {}, base_port=PORT)
    config["cluster"] = [
        {
            **config["cluster"],
            **{"name": name, "cidr": cidr, "workers": 0, "wait": False, "talosVersion": "v1.11.5"},
        }
        for name, cidr in CIDRS.items()
    ]
    clusters.checkout.write_stack(STACK, **config)
    clusters.checkout.make("up", STACK)
    return clusters


def answers(up, name):
    [node] = node_ips(CIDRS[name], 1)
    return "v1.11.5" in stories.answers(up, STACK, node, cluster=name)


def test_both_are_there_with_files_of_their_own(up):
    for name in CIDRS:
        assert set(up.nodes(name)) == {f"{name}-controlplane-1"}
        soon(f"the API of {name}", lambda name=name: answers(up, name))
    access = up.outputs(STACK)["clusters"]
    assert set(access) == {ONE, TWO}
    assert access[ONE]["talosconfig"] != access[TWO]["talosconfig"]


def test_both_ask_the_same_caches(up):
    one, two = (
        soon(
            "its mirror",
            lambda name=name, cidr=cidr: hosts_toml(
                up, STACK, node_ips(cidr, 1)[0], "ghcr.io", cluster=name
            ),
        )
        for name, cidr in CIDRS.items()
    )
    assert one == two
    assert f":{PORT + 4}" in one


def test_one_is_thrown_away_and_the_other_lives_on(up):
    started = up.nodes(TWO)
    up.checkout.run("make", "cluster-down", f"STACK={STACK}", f"CLUSTER={ONE}")
    assert up.nodes(ONE) == {}
    assert up.nodes(TWO) == started
    soon("its state was not in the folder that went", lambda: answers(up, TWO))
    up.checkout.make("cluster-up", STACK)
    assert up.nodes(TWO) == started
    assert len(up.nodes(ONE)) == 1


def test_down_removes_both(up):
    up.checkout.make("down", STACK)
    assert left_of(up, f"{PREFIX}-{STACK}") == NOTHING_LEFT
