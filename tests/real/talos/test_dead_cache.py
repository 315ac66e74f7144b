"""Mirrors of live nodes that lead nowhere: `doctor` finds them, and an update does not make them.

Nodes of Talos 1.11 without Kubernetes (`wait: false`), which are there in seconds. The tests are
one story and run in order.
"""

import contextlib
import json
import subprocess
import threading
import time
from dataclasses import dataclass, field

import pytest
import yaml

from plan.settings.keys import DEFAULTS
from tests.real.caches.sweep import PREFIX
from tests.real.talos.stories import (
    HOSTS,
    NOTHING_LEFT,
    TEAM,
    left_of,
    node_ips,
    soon,
    stack_config,
)

STACK = "dead"
VERSION = "1.11.5"
NAME = f"{PREFIX}-{STACK}"
CIDR = "10.75.0.0/24"
PORT = 15360
CLUSTER = {"workers": 1, "cidr": CIDR, "talosVersion": "v1.11.5", "wait": False}
CONTROL_PLANE, WORKER = NODES = node_ips(CIDR, 2)
DOCKER_IO = f"{NAME}-docker.io"
TEAM_CACHE = f"{NAME}-{TEAM}"
# Nobody's cache: a mirror that somebody has set by hand.
FOREIGN = "quay.io"
POLL_SECONDS = 0.05


@pytest.fixture(scope="module")
def up(clusters):
    clusters.use_talosctl(VERSION)
    write(clusters, team=True)
    clusters.checkout.make("up", STACK)
    for node in NODES:
        soon(f"the mirrors of {node}", lambda node=node: mirrors(clusters, node))
    clusters.shell = clusters.checkout.shell_env(STACK)
    return clusters


def write(clusters, *, team):
    config = stack_config(STACK, clusters.upstream, CLUSTER, base_port=PORT, team=team)
    clusters.checkout.write_stack(STACK, **config)


def mirrors(clusters, node):
    """Host -> endpoints in a node's live machine config; nothing where the node does not answer."""
    shown = clusters.talosctl(
        *(STACK, node, "get", "machineconfig", "v1alpha1", "-o", "yaml"), check=False
    )
    try:
        config = yaml.safe_load(yaml.safe_load(shown)["spec"])
    except (yaml.YAMLError, TypeError, KeyError):
        return {}
    entries = config["machine"]["registries"]["mirrors"]
    return {host: entry["endpoints"] for host, entry in entries.items()}


def doctor(up, *, status):
    """Its findings on nodes and caches; the report has to come soon, whatever is dead."""
    began = time.monotonic()
    done = up.checkout.ops("doctor", STACK, "--json", env=up.shell)
    print(f"doctor: {time.monotonic() - began:.1f} s")
    assert done.returncode == status, done.stdout + done.stderr
    assert time.monotonic() - began < 40
    found = {}
    for one in json.loads(done.stdout)["findings"]:
        found.setdefault(one["about"], []).append(one)
    return found


def problems(found):
    """(about, text, fix) of every problem."""
    return [
        (one["about"], one["text"], one["fix"])
        for of_one in found.values()
        for one in of_one
        if one["state"] == "problem"
    ]


def about(node):
    return f"node {node} of {NAME}"


def test_nothing_is_wrong_with_a_new_cluster(up):
    found = doctor(up, status=0)
    assert "v1.11.5" in found["talosctl"][0]["text"]
    for node in NODES:
        [one] = found[about(node)]
        assert one["text"] == "4 mirrors, every endpoint answers"


def test_a_cache_that_is_gone_is_told_for_every_node_that_asks_it(up):
    endpoint = mirrors(up, WORKER)["docker.io"][0]
    up.checkout.client.api.stop(DOCKER_IO, timeout=1)
    told = problems(doctor(up, status=1))
    text = (
        f"its mirror of docker.io points to {endpoint}, but nothing answers (Connection "
        "refused): every pull from docker.io goes to the upstream"
    )
    for node in NODES:
        assert (about(node), text, f"make up STACK={STACK}") in told
    assert len(told) == 3, "two nodes and the cache"
    up.checkout.make("up", STACK)
    assert problems(doctor(up, status=0)) == []


@pytest.fixture
def black_hole(up):
    """URL of a registry on Docker's bridge that swallows packets."""
    client = up.checkout.client
    container = client.containers.run(
        str(DEFAULTS["cache.image"]), name=f"{NAME}-black-hole", detach=True
    )
    info = client.api.inspect_container(container.id)
    argv = ["nsenter", "--net", "--target", str(info["State"]["Pid"]), "iptables", "--append"]
    subprocess.run([*argv, "INPUT", "-p", "tcp", "-j", "DROP"], check=True)
    yield f"http://{info['NetworkSettings']['IPAddress']}:5000"
    container.remove(force=True, v=True)


def test_a_mirror_set_by_hand_that_swallows_packets_is_taken_out_by_the_line_told(up, black_hole):
    before = mirrors(up, WORKER)
    entries = {
        FOREIGN: {"endpoints": [black_hole], "skipFallback": True},
        # Behind the stack's own endpoint, which a patch leaves in its place.
        "ghcr.io": {"endpoints": [black_hole]},
    }
    patch = json.dumps({"machine": {"registries": {"mirrors": entries}}})
    up.talosctl(STACK, WORKER, "patch", "machineconfig", "--mode", "no-reboot", "--patch", patch)
    assert len(mirrors(up, WORKER)["ghcr.io"]) == 2
    found = doctor(up, status=1)
    assert found[about(CONTROL_PLANE)][0]["state"] == "ok"
    told = {text: fix for of, text, fix in problems(found) if of == about(WORKER)}
    silent = f"{black_hole}, but nothing answers within 3 s"
    assert set(told) == {
        f"its mirror of {FOREIGN} points to {silent}: every request of a pull waits 30 s, and "
        f"pulls from {FOREIGN} fail, because skipFallback rules out the upstream",
        f"its mirror of ghcr.io points to {silent}: nodes try it for what the endpoints before it "
        "don't have, and then each request waits 30 s",
    }
    for fix in told.values():
        up.checkout.run("sh", "-c", fix, env=up.shell)
    assert mirrors(up, WORKER) == before
    assert problems(doctor(up, status=0)) == []


def test_a_cache_that_a_nodes_network_keeps_away_is_not_mended_by_an_up(up):
    """Only the node's own view shows it: to this machine the cache answers."""
    info = up.checkout.client.api.inspect_container(f"{NAME}-worker-1")
    rule = ["OUTPUT", "-p", "tcp", "--dport", str(PORT), "-j", "DROP"]
    iptables = ["nsenter", "--net", "--target", str(info["State"]["Pid"]), "iptables", "--wait"]
    subprocess.run([*iptables, "--insert", *rule], check=True)
    try:
        [(of, text, fix)] = problems(doctor(up, status=1))
    finally:
        subprocess.run([*iptables, "--delete", *rule], check=True)
    assert of == about(WORKER)
    assert text.endswith("every request of a pull waits 30 s before it goes to the upstream")
    assert fix.startswith("it answers this machine, so something blocks the node")


@dataclass
class Watched:
    """What two nodes and one container went through, on one clock: seconds of time.time().

    Attributes:
        had_it: when each look that still saw the mirror in a node began.
        lost_it: node -> when the first look that did not see it any more had ended.
        ended: when the container was told to end; None if it was not.
    """

    had_it: list = field(default_factory=list)
    lost_it: dict = field(default_factory=dict)
    ended: float | None = None


@contextlib.contextmanager
def watched(up, container):
    """Looks at the nodes' mirrors of TEAM all the time, and notes when Docker ends a container."""
    seen = Watched()
    over = threading.Event()

    def look(node):
        while not over.is_set():
            began = time.time()
            held = mirrors(up, node)
            if TEAM in held:
                seen.had_it.append(began)
                seen.lost_it.pop(node, None)
            elif held:
                seen.lost_it.setdefault(node, time.time())
            time.sleep(POLL_SECONDS)

    began = time.time()
    threads = [threading.Thread(target=look, args=(node,)) for node in NODES]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join()
    events = up.checkout.client.api.events(
        since=int(began),
        until=int(time.time()) + 1,
        filters={"container": container, "event": ["kill", "die", "destroy"]},
        decode=True,
    )
    seen.ended = min((event["timeNano"] / 1e9 for event in events), default=None)


def operations(printed):
    """The lines of the engine's display, in the order in which they came."""
    return [line for line in printed.splitlines() if "command:local" in line or "Container" in line]


def test_an_upstream_removed_leaves_the_nodes_before_its_cache_goes(up):
    container = up.checkout.containers(STACK)[TEAM_CACHE]
    write(up, team=False)
    with watched(up, container) as seen:
        soon("the first looks", lambda: len(seen.had_it) > 2)
        printed = up.checkout.make("up", STACK).stdout
        soon("each node was seen without it", lambda: set(seen.lost_it) == set(NODES))
    assert TEAM_CACHE not in up.checkout.containers(STACK)
    assert set(seen.lost_it) == set(NODES)
    gaps = {node: f"{seen.ended - when:.2f} s" for node, when in seen.lost_it.items()}
    print(f"the mirror was seen gone before the cache was ended: {gaps}")
    assert max(seen.had_it) < seen.ended, "a node still had the mirror of a cache that was ended"
    order = "\n".join(operations(printed))
    updated = order.index("cluster-command updated")
    assert updated < order.index("registry-example-com-container deleting"), order
    assert problems(doctor(up, status=0)) == []


def test_a_node_that_does_not_answer_keeps_the_cache_where_it_is(up):
    write(up, team=True)
    up.checkout.make("up", STACK)
    before = up.checkout.containers(STACK)
    write(up, team=False)
    up.checkout.client.api.pause(f"{NAME}-worker-1")
    try:
        failed = up.checkout.make("up", STACK, check=False)
        found = doctor(up, status=1)
    finally:
        up.checkout.client.api.unpause(f"{NAME}-worker-1")
    assert failed.returncode != 0
    assert f"{WORKER}: no answer within 30 s" in failed.stdout
    assert up.checkout.containers(STACK) == before, "the update ended before it deletes anything"
    [(of, text, _)] = problems(found)
    assert (of, text) == (about(WORKER), "its machine config can't be read: no answer within 10 s")
    assert TEAM in mirrors(up, WORKER)
    assert TEAM not in mirrors(up, CONTROL_PLANE)
    # The doctor has nothing to say of the mirror, for its cache is there.
    assert problems(doctor(up, status=0)) == []


def test_once_the_node_is_back_the_next_up_does_the_rest(up):
    up.checkout.make("up", STACK)
    assert TEAM_CACHE not in up.checkout.containers(STACK)
    for node in NODES:
        assert sorted(mirrors(up, node)) == sorted(HOSTS)
    assert problems(doctor(up, status=0)) == []


def test_a_node_that_is_stopped_is_told(up):
    up.checkout.client.api.kill(f"{NAME}-worker-1")
    [(of, text, fix)] = problems(doctor(up, status=1))
    assert (of, text) == (about(WORKER), f"its container {NAME}-worker-1 is not running")
    assert fix == (
        f"make cluster-down STACK={STACK} CLUSTER={NAME} && make cluster-up STACK={STACK}"
    )
    up.checkout.make("down", STACK)
    assert left_of(up, NAME) == NOTHING_LEFT
