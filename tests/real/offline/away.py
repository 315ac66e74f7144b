"""Caches with an upstream that has a name, and goes away: refused, swallowed, names not found.

The upstream is a real registry in a container of the test's own. What happens to its packets
happens inside that container's network namespace; rules and servers there end with it.
"""

import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest
import requests

from demo import images
from demo.upstream import Upstream
from host.paths import ROOT
from ops.registry.ping import wait_for_answer
from plan.caches.cache_plan import UPSTREAM_WATCH_PATH
from plan.settings.keys import DEFAULTS
from tests.real.caches.containerd import ctr, hosts_dir, running
from tests.real.caches.sweep import PREFIX

DOUBLE = ROOT / "tests/fakes/away_upstream.py"
ANONYMOUS = "anonymous.upstream.test"
TOKENS = "tokens.upstream.test"
REMOTE_URLS = {ANONYMOUS: f"http://{ANONYMOUS}:5000", TOKENS: f"http://{TOKENS}:5001"}
# What a node pulls when it boots, more or less.
TAGS = 20
IMAGES = 40
# The specification says 20 and 15, of a machine that is not busy with other tests.
CACHED_SECONDS = 120
BACK_SECONDS = 60
NOTICED_SECONDS = 120
# Whatever it is that does not answer.
AWAY = ": serving what is cached"
BACK = "is back"


class NamedUpstream(Upstream):
    """A registry that the caches find by name, with and without asking for a token.

    Everything that is done to it is done to both ways in.
    """

    def __init__(self, client, name, folder):
        super().__init__(
            client=client, name=name, image=str(DEFAULTS["cache.image"]), address="", port=5000
        )
        self.failing_names = folder / "names-fail"
        self.mood = folder / "mood"
        self.double = None

    @property
    def local_url(self):
        return f"http://{self.ip_address}:5000"

    def start(self):
        self.client.containers.run(
            self.image, name=self.name, detach=True, environment={"OTEL_TRACES_EXPORTER": "none"}
        )
        info = self.client.api.inspect_container(self.name)
        self.ip_address = info["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        self.enter = ["nsenter", "--net", "--target", str(info["State"]["Pid"])]
        files = [str(self.failing_names), str(self.mood)]
        argv = [sys.executable, str(DOUBLE), self.ip_address, *files]
        nowhere = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        self.double = subprocess.Popen([*self.enter, *argv], **nowhere)
        self.wait()
        wait_until_connected(self.ip_address, 5001)

    def remove(self):
        if self.double:
            self.double.kill()
            self.double.wait()
        super().remove()

    def refuse(self):
        """As where the host is there and the registry is not."""
        self._filter("-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")

    def swallow(self):
        """As behind a firewall, or on a laptop that has left the network: no answer at all."""
        self._filter("-p", "tcp", "-j", "DROP")

    def swallow_names(self):
        """The name server gives no answer; the registry would."""
        self._filter("-p", "udp", "-j", "DROP")

    def fail_names(self):
        """The name server answers that it can't."""
        self.failing_names.touch()

    def become(self, mood):
        """What `away_upstream.py` knows: both gates, the registry behind them stays as it is."""
        fresh = self.mood.with_suffix(".new")
        fresh.write_text(mood)
        fresh.replace(self.mood)

    def come_back(self):
        self.failing_names.unlink(missing_ok=True)
        self.mood.unlink(missing_ok=True)
        self._iptables("--flush", "INPUT")

    def count_requests(self):
        """From now on, in `requests_counted`."""
        for matching in (["-p", "tcp", "--syn"], ["-p", "udp"]):
            self._filter(*matching)

    def requests_counted(self, protocol=""):
        """New connections and questions about names; with `tcp` only those."""
        lines = self._iptables("--list", "INPUT", "--verbose", "--exact", "--numeric").splitlines()
        return sum(int(line.split()[0]) for line in lines[2:] if protocol in line)

    def _filter(self, *rule):
        self._iptables("--append", "INPUT", "--in-interface", "eth0", *rule)

    def _iptables(self, *arguments):
        argv = [*self.enter, "iptables", "--wait", *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30).stdout


@contextmanager
def named_upstream(client, name, folder):
    """A NamedUpstream with IMAGES images."""
    if os.geteuid() != 0:
        pytest.skip("only root enters a container's network namespace")
    upstream = NamedUpstream(client, name, folder)
    try:
        upstream.start()
        for number in range(IMAGES):
            upstream.push(image(number))
        yield upstream
    finally:
        upstream.remove()


class AwayCaches:
    """Caches in front of one upstream.

    Args:
        remote_urls: of the upstream, by the name that images have for it.
    """

    def __init__(self, checkout, stack, base_port, upstream, remote_urls=REMOTE_URLS):
        self.checkout = checkout
        self.stack = stack
        self.upstream = upstream
        upstreams = {
            host: {"remoteUrl": url, "port": base_port + offset}
            for offset, (host, url) in enumerate(remote_urls.items())
        }
        name = f"{PREFIX}-{stack}"
        checkout.write_stack(stack, prefix=name, upstreams=upstreams, cache={"onDestroy": "delete"})
        checkout.make("up", stack)
        outputs = json.loads(checkout.pulumi("stack", "output", "--json", stack=stack).stdout)
        self.urls = outputs["localEndpoints"]
        self.containers = {
            host: checkout.client.containers.get(cache["container"])
            for host, cache in outputs["caches"].items()
        }
        self.by_name = [
            self.containers[host] for host, url in remote_urls.items() if "upstream.test" in url
        ]
        # How much each watch had said before it was last started.
        self.said_before = dict.fromkeys((one.name for one in self.containers.values()), 0)
        self.ask_the_upstreams_name_server()

    def ask_the_upstreams_name_server(self):
        """Docker has written this machine's name servers, which do not know the upstream.

        The watch notices that first, as it would on a machine that boots without a network.
        """
        content = f"nameserver {self.upstream.ip_address}\noptions timeout:1 attempts:2\n"
        for container in self.by_name:
            # At once: the watch looks again after 3 s.
            self.wait_for_words(container, AWAY)
            write = f"printf '{content}' > /etc/resolv.conf".replace("\n", "\\n")
            done = container.exec_run(["sh", "-c", write])
            assert done.exit_code == 0, done.output

    def restart(self):
        for container in self.containers.values():
            container.stop(timeout=1)
            self.said_before[container.name] = len(said(container))
            container.start()
        for url in self.urls.values():
            assert not wait_for_answer(url, 30)
        self.ask_the_upstreams_name_server()

    def kill_watches(self):
        """Kill the process that watches, and leave the one that started it."""
        for container in self.containers.values():
            rows = container.top(ps_args="-eo pid,ppid,args")["Processes"]
            parents = {pid: parent for pid, parent, args in rows if UPSTREAM_WATCH_PATH in args}
            # The entrypoint starts one that starts the one that watches.
            watching = [pid for pid, parent in parents.items() if parents.get(parent) in parents]
            assert watching, rows
            for pid in watching:
                # One that only lives for a moment may have ended.
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)

    def wait_for_log(self, words):
        """Wait until the last thing that every watch said has these words in it."""
        for container in self.containers.values():
            self.wait_for_words(container, words)

    def wait_for_words(self, container, words):
        deadline = time.monotonic() + NOTICED_SECONDS
        while words not in "".join(said(container)[self.said_before[container.name] :][-1:]):
            assert time.monotonic() < deadline, container.logs(tail=20).decode()
            time.sleep(0.2)


def wait_until_connected(address, port):
    deadline = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection((address, port), timeout=1).close()
        except ConnectionError:
            assert time.monotonic() < deadline, f"nothing answers on {address}:{port}"
            time.sleep(0.1)


def said(container):
    """What the watch of a container has said since it was made."""
    lines = container.logs().decode().splitlines()
    return [line for line in lines if line.startswith("talos-cache: ")]


def image(number):
    payload = f"image {number}\n".encode() * 1000
    return images.single("upstream.test", f"team/image-{number}", "1", payload)


def reference(host, number):
    return f"{host}/team/image-{number}:1"


def fill(caches, images_to_get=TAGS):
    """Get images into the caches, over connections that are then kept for a while."""
    for number in range(images_to_get):
        made = image(number)
        for url in caches.urls.values():
            base = f"{url}/v2/{made.repository}"
            headers = {"Accept": made.manifests[-1].media_type}
            requests.get(f"{base}/manifests/1", headers=headers, timeout=60).raise_for_status()
            for blob in made.blobs:
                requests.get(f"{base}/blobs/{blob.digest}", timeout=60).raise_for_status()


class Node:
    """A containerd with nothing in it, behind the caches."""

    def __init__(self, caches, address, folder):
        self.address = address
        mirrors = [(host, url, False) for host, url in caches.urls.items()]
        self.hosts = hosts_dir(folder / "hosts", mirrors)

    def pull(self, host, number, *, check=True):
        arguments = ("images", "pull", "--hosts-dir", self.hosts, reference(host, number))
        return ctr(self.address, *arguments, check=check)

    def pull_all(self, host):
        """One after another, as a node does; returns how long it took."""
        started = time.monotonic()
        for number in range(TAGS):
            self.pull(host, number)
        return time.monotonic() - started

    def wait_until_pulled(self, host, number):
        """Try until it works; returns how long it took."""
        started = time.monotonic()
        while (failed := self.pull(host, number, check=False)).returncode != 0:
            assert time.monotonic() - started < BACK_SECONDS, failed.stderr
            time.sleep(0.2)
        return time.monotonic() - started


def prove(caches, folder, go_away, uncached):
    """Take the upstream away, pull what is cached, bring it back, pull what is not.

    Args:
        caches: with the first TAGS images in them.
        folder: for a containerd.
        go_away: takes the upstream away.
        uncached: number of an image that no cache has, nor the one behind it.

    Returns:
        Seconds for all cached images, and until the uncached one, by host; for people to read.
    """
    with running(folder) as address, concurrent.futures.ThreadPoolExecutor() as side_by_side:
        node = Node(caches, address, folder)
        go_away()
        cached = side_by_side.map(node.pull_all, REMOTE_URLS)
        cached = dict(zip(REMOTE_URLS, cached, strict=True))
        assert max(cached.values()) < CACHED_SECONDS, cached
        for host in REMOTE_URLS:
            asked_in_vain = node.pull(host, uncached, check=False)
            assert asked_in_vain.returncode != 0, "it would not tell whether that is remembered"
        caches.upstream.come_back()
        back = side_by_side.map(lambda host: node.wait_until_pulled(host, uncached), REMOTE_URLS)
        back = dict(zip(REMOTE_URLS, back, strict=True))
        for host in REMOTE_URLS:
            node.pull(host, uncached + 1)
            url = f"{caches.urls[host]}/v2/team/nowhere/manifests/1"
            assert requests.get(url, timeout=10).status_code == 404
    seconds = {"cached": cached, "back": back}
    return {
        f"{what} {host}": round(value, 1)
        for what, by_host in seconds.items()
        for host, value in by_host.items()
    }
