"""Upstreams that die in the middle, caches that are killed, disks that are full."""

import json
import os
import random
import re
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests

from demo import images
from demo.client import pull
from ops.registry.ping import wait_for_answer
from plan.images.storage import ROOT, blob_path
from tests.real.caches.conftest import PREFIX, embedded
from tests.real.caches.containerd import ctr, hosts_dir, running

STACK = "faults"
NAME = f"{PREFIX}-faults"
HOSTS = ("docker.io", "quay.io")
BASE_PORT = 15220
BIG_BYTES = 400 * 1000 * 1000
KILLS = 20
KILLED_BYTES = 20_000_000
CHUNK_BYTES = 64 * 1024
NODE_SECONDS = 120
SETTLE_SECONDS = 20
SEED = 20261124
ROOM = 64 * 1024 * 1024


@pytest.fixture(scope="module")
def up(checkout, embedded_upstream, small_volume):
    upstreams = embedded(embedded_upstream, HOSTS)
    checkout.write_stack(
        STACK,
        prefix=NAME,
        basePort=BASE_PORT,
        upstreams=upstreams,
        cache={"onDestroy": "delete"},
    )
    checkout.make("up", STACK)
    return checkout


@pytest.fixture(scope="module")
def small_volume(docker_client, tmp_path_factory):
    """The volume of quay.io's cache is a file system of 64 MiB in a file of its own."""
    file = tmp_path_factory.mktemp("disk") / "ext4"
    with file.open("wb") as disk:
        disk.truncate(ROOM)
    run("mkfs.ext4", "-q", "-m", "0", str(file))
    # Directly, so that what the file does not have is an error and not zeros.
    device = run("losetup", "--find", "--show", "--direct-io=on", str(file))
    options = {"type": "ext4", "device": device}
    volume = docker_client.volumes.create(f"{NAME}-quay.io", driver="local", driver_opts=options)
    volume.disk = file
    yield volume
    for container in docker_client.api.containers(all=True, filters={"volume": volume.name}):
        docker_client.api.remove_container(container["Id"], force=True)
    docker_client.api.remove_volume(volume.name)
    run("losetup", "--detach", device)


def run(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def endpoint(host):
    return f"http://127.0.0.1:{BASE_PORT + HOSTS.index(host) * 2}"


def verify(checkout):
    return json.loads(checkout.ops("verify", STACK, "--deep", "--json").stdout)


def wait_until_complete(checkout):
    """What `verify` finds in the end: a client has its last byte before the cache has stored it."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while not (found := verify(checkout))["complete"]:
        wrong = [one for one in found["images"] if one["faults"]]
        assert time.monotonic() < deadline, (wrong, found["damagedElsewhere"])
    return found


def test_an_upstream_that_dies_in_the_middle_of_a_layer(up, embedded_upstream, node):
    chance = random.Random(SEED)
    content = b"".join(chance.randbytes(BIG_BYTES // 4) for _ in range(4))
    big = images.artifact("docker.io", "big/layer", "v1", content)
    embedded_upstream.push(big)
    digest = big.blobs[1].digest
    pulling = node.start(big)
    try:
        while received(up, big) < BIG_BYTES // 8:
            assert pulling.poll() is None, "it ended before the upstream did"
        up.client.api.kill(embedded_upstream.name)
        _, said = pulling.communicate(timeout=NODE_SECONDS)
        assert pulling.returncode != 0, "the client gets an error"
        print(said.strip()[-200:])
        assert held(up, "docker.io", digest) == "", "nothing partial is kept"
        assert received(up, big) == 0, "nor is what had come"
    finally:
        embedded_upstream.plug_in()
    node.settle()
    node.pull(big)
    # The client may have synced the last bytes before the cache has.
    deadline = time.monotonic() + NODE_SECONDS
    while held(up, "docker.io", digest) != str(BIG_BYTES):
        assert time.monotonic() < deadline, "the cache keeps what has come whole"
        time.sleep(0.1)
    wait_until_complete(up)


class Node:
    """A containerd behind the caches, which asks the upstream itself where a cache fails."""

    def __init__(self, address, folder, upstream_url):
        self.address = address
        mirrors = [(host, endpoint(host), False) for host in HOSTS]
        self.hosts = hosts_dir(folder / "hosts", mirrors)
        self.with_fallback = hosts_dir(folder / "fallback", mirrors)
        for host in HOSTS:
            toml = self.with_fallback / host / "hosts.toml"
            fallback = f"[host.'{upstream_url}']\ncapabilities = ['pull', 'resolve']\n"
            toml.write_text(f"{toml.read_text()}{fallback}")

    def start(self, image, hosts=None):
        """Fetch all of an image by tag, without unpacking it: a process."""
        argv = ["ctr", "--address", str(self.address), "content", "fetch", "--all-platforms"]
        return subprocess.Popen(
            [*argv, "--hosts-dir", str(hosts or self.hosts), image.reference],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def pull(self, image, hosts=None, *, check=True):
        """Fetch it, and be content only with every byte of it; what was said."""
        process = self.start(image, hosts)
        _, said = process.communicate(timeout=NODE_SECONDS)
        assert process.returncode == 0 or not check, said
        whole = all(self.has(blob.digest) for blob in image.blobs)
        assert whole is (process.returncode == 0)
        return process.returncode, said

    def settle(self):
        """Wait until nothing is left of pulls that failed, as a kubelet does (10 s and longer).

        distribution 3.1.2 writes its error, some JSON, into the body that it breaks off. containerd
        keeps what came and would go on behind it at once: whole, but with another digest. It
        throws that away when it next collects garbage, a second or two after the pull.
        """
        deadline = time.monotonic() + NODE_SECONDS
        while left := ctr(self.address, "content", "active").stdout.splitlines()[1:]:
            assert time.monotonic() < deadline, left
            time.sleep(0.1)

    def has(self, digest):
        """containerd takes nothing in that does not have its digest."""
        return digest in ctr(self.address, "content", "ls", "--quiet").stdout.split()


@pytest.fixture
def node(tmp_path, embedded_upstream):
    with running(tmp_path) as address:
        yield Node(address, tmp_path, embedded_upstream.local_url)


def received(checkout, image):
    """Bytes of an image's repository that the cache has not finished taking in."""
    folder = data(checkout, image.host) / "repositories" / image.repository / "_uploads"
    total = 0
    for file in folder.glob("*/data"):
        with suppress(FileNotFoundError):  # it has been finished since
            total += file.stat().st_size
    return total


def held(checkout, host, digest):
    """Size of a blob's file in the cache; empty where there is none."""
    try:
        return str((data(checkout, host) / blob_path(digest)).stat().st_size)
    except FileNotFoundError:
        return ""


def data(checkout, host):
    """Where a cache's registry keeps its files, on this machine."""
    volume = checkout.client.api.inspect_volume(f"{NAME}-{host}")
    return Path(volume["Mountpoint"]) / ROOT


def test_a_cache_that_is_killed_at_any_moment_serves_nothing_damaged(up, embedded_upstream):
    chance = random.Random(SEED)
    pulled = [
        images.single("docker.io", f"killed/app{number}", "v1", chance.randbytes(KILLED_BYTES))
        for number in range(KILLS)
    ]
    for image in pulled:
        embedded_upstream.push(image)
    ended = 0
    for image in pulled:
        ended += ends_a_pull(up.client, image, chance.randrange(KILLED_BYTES))
        assert wait_for_answer(endpoint("docker.io"), 30) is None
        pull(endpoint("docker.io"), image, by_digest=False)
    print(f"{ended} of {KILLS} kills ended a pull; the others came when it was almost done")
    assert ended >= KILLS // 2
    found = wait_until_complete(up)
    assert {image.reference for image in pulled} <= {one["image"] for one in found["images"]}


def ends_a_pull(client, image, size):
    """`kill -9` of the cache once it has received so many bytes; whether that ended the pull."""
    name, layer = f"{NAME}-docker.io", image.blobs[1]
    base = f"{endpoint('docker.io')}/v2/{image.repository}"
    headers = {"Accept": image.manifests[0].media_type}
    requests.get(f"{base}/manifests/v1", headers=headers, timeout=30).raise_for_status()
    came = 0
    try:
        with requests.get(f"{base}/blobs/{layer.digest}", stream=True, timeout=30) as answer:
            for chunk in answer.iter_content(CHUNK_BYTES):
                if came <= size < came + len(chunk):
                    client.api.kill(name)
                came += len(chunk)
    except requests.RequestException:
        return True
    else:
        return False
    finally:
        assert came >= size, "it was killed"
        client.api.start(name)


def test_a_full_disk_fails_nobody_and_the_cache_recovers_when_there_is_room(
    up, embedded_upstream, node
):
    content = random.Random(SEED).randbytes(30_000_000)
    image = images.artifact("quay.io", "full/app", "v1", content)
    embedded_upstream.push(image)
    digest = image.blobs[1].digest
    with ballast(up, megabytes=45):
        for hosts in (node.hosts, node.with_fallback):
            status, said = node.pull(image, hosts, check=False)
            print(f"no room for the layer: {'the pull goes on' if not status else said[-200:]}")
            node.settle()
        assert held(up, "quay.io", digest) == "", "nothing partial is kept"
        assert received(up, image) == 0, "nor is what had come"
    node.pull(image)
    pull(endpoint("quay.io"), image, by_digest=False)
    assert held(up, "quay.io", digest) == str(len(content))
    wait_until_complete(up)


def test_with_no_room_at_all_nodes_fall_back_to_the_upstream(up, embedded_upstream, node):
    image = images.artifact("quay.io", "fuller/app", "v1", b"some text\n" * 1000)
    embedded_upstream.push(image)
    with ballast(up, megabytes=100):
        status, said = node.pull(image, check=False)
        assert status != 0, "without another host it is an error"
        print(said.strip()[-200:])
        node.pull(image, node.with_fallback)
        assert held(up, "quay.io", image.blobs[1].digest) == ""
    pull(endpoint("quay.io"), image, by_digest=False)
    wait_until_complete(up)


@contextmanager
def ballast(checkout, *, megabytes):
    """Fill the small disk, with so much or up to its end."""
    file = data(checkout, "quay.io").parents[2] / "ballast"
    try:
        with file.open("wb") as heavy, suppress(OSError):
            for _ in range(megabytes):
                heavy.write(b"\0" * 1_000_000)
                heavy.flush()
        yield
    finally:
        file.unlink()


def test_what_the_disk_does_not_give_is_damaged_and_mended(up, embedded_upstream, small_volume):
    content = random.Random(SEED + 1).randbytes(12_000_000)
    image = images.artifact("quay.io", "unreadable/app", "v1", content)
    embedded_upstream.push(image)
    pull(endpoint("quay.io"), image, by_digest=False)
    layer = image.blobs[1].digest
    with unreadable(small_volume, layer):
        done = up.ops("verify", STACK, "--deep", "--json")
        assert done.stdout, done.stderr
        report = json.loads(done.stdout)
        found = [fault for one in report["images"] for fault in one["faults"]]
        assert (layer, "damaged") in {(one["digest"], one["problem"]) for one in found}
        done = up.ops("repair", STACK, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        mended = {one["digest"] for one in json.loads(done.stdout)["damaged"]}
        assert layer in mended
    pull(endpoint("quay.io"), image, by_digest=False)
    wait_until_complete(up)


@contextmanager
def unreadable(volume, digest):
    """The disk has lost everything from the middle of this blob's last piece on.

    Of the rest the kernel remembers what it needs: folders that lie behind that stay readable.
    """
    mountpoint = Path(volume.client.api.inspect_volume(volume.name)["Mountpoint"])
    blob = mountpoint / ROOT / blob_path(digest)
    run("sync")
    for path in mountpoint.rglob("*"):
        path.stat()
    pieces = run("filefrag", "-b1024", "-v", str(blob))
    *_, last = re.findall(r":\s+(\d+)\.\.\s+(\d+):\s+\d+:", pieces)
    first_block, last_block = map(int, last)
    with volume.disk.open("r+b") as disk:
        disk.truncate((first_block + last_block) // 2 * 1024)
        with blob.open("rb") as remembered:
            os.posix_fadvise(remembered.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        try:
            yield
        finally:
            disk.truncate(ROOM)


def test_the_doctor_tells_of_a_disk_that_is_almost_full(up):
    with ballast(up, megabytes=10):
        done = up.ops("doctor", STACK, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    of_quay, of_docker = (
        next(one for one in json.loads(done.stdout)["findings"] if one["about"] == about)
        for about in ("cache of quay.io", "cache of docker.io")
    )
    assert of_quay["state"] == "warning", of_quay
    room = re.fullmatch(r"its disk has only ([\d.]+) MB left: .*", of_quay["text"])
    assert 1 < float(room[1]) < (ROOM - 10_000_000) / 1e6
    assert "its disk" not in of_docker["text"], "it has another disk"
