"""`warm`: every byte crosses the upstream link once, as the upstream itself counts it."""

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
import requests

from demo import images
from demo.client import pull
from demo.images import Image
from ops.backends.cache_filling import SETTLE_SECONDS
from tests.checkout import ops_line
from tests.real.caches.conftest import PREFIX, embedded
from tests.real.offline.volumes import in_container
from tests.upstream_log import bytes_sent, bytes_sent_so_far

STACK = "warm"
NAME = f"{PREFIX}-warm"
HOSTS = ("docker.io", "quay.io")
BASE_PORT = 15240
CLIENTS = 4


def payload(number, size=3_000_000):
    return Random(number).randbytes(size)


def copied(image, repository):
    """The same image under another name: every blob is shared."""
    return Image(
        host=image.host,
        repository=repository,
        tag=image.tag,
        manifests=image.manifests,
        blobs=image.blobs,
    )


ONE = images.single("docker.io", "team/one", "v1", payload(1))
ALL = (
    ONE,
    copied(ONE, "team/same-layers"),
    images.single("docker.io", "team/two", "v1", payload(2)),
    images.single("quay.io", "team/three", "v1", payload(3)),
)
MANY = tuple(
    images.single("docker.io", f"many/image{number}", "v1", payload(100 + number, 8_000_000))
    for number in range(20)
)


@pytest.fixture(scope="module")
def up(checkout, embedded_upstream):
    checkout.kills = True
    write(checkout, embedded_upstream)
    checkout.make("up", STACK)
    for image in (*ALL, *MANY):
        embedded_upstream.push(image)
    return checkout


def write(checkout, upstream, **more):
    config = {"prefix": NAME, "basePort": BASE_PORT, "cache": {"onDestroy": "delete"}, **more}
    checkout.write_stack(STACK, upstreams=embedded(upstream, HOSTS), **config)


def command(checkout, *arguments):
    return ops_line("warm", STACK, *arguments)


def tried(checkout, references, *arguments):
    """Run it with this list."""
    file = checkout.path / "images.txt"
    file.write_text("\n".join(references))
    argv = command(checkout, "--images", str(file), "--json", *arguments)
    return checkout.run(*argv, check=False)


def warm(checkout, references, *arguments):
    """The report of a run; its status is 0 where all is complete, else 1."""
    done = tried(checkout, references, *arguments)
    assert "Traceback" not in done.stderr
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["complete"] else 1)
    return report


def refused(checkout, references):
    """What is said where nothing is tried."""
    done = tried(checkout, references)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def unique(*pulled):
    """Bytes of the blobs, each once in a cache, and of the manifests, once in a repository."""
    blobs = {
        (image.host, blob.digest): len(blob.content) for image in pulled for blob in image.blobs
    }
    return sum(blobs.values()) + sum(len(image.manifests[0].content) for image in pulled)


def endpoint(image):
    return f"http://127.0.0.1:{BASE_PORT + 2 * HOSTS.index(image.host)}"


def pushed_and_listed(checkout, upstream, name, first):
    """Twelve large images that the upstream has since now, and a file that lists them."""
    made = [
        images.single(
            "docker.io", f"{name}/image{number}", "v1", payload(first + number, 8_000_000)
        )
        for number in range(12)
    ]
    for image in made:
        upstream.push(image)
    file = checkout.path / f"{name}.txt"
    file.write_text("\n".join(image.reference for image in made))
    return made, file


def test_four_clients_after_warm_cost_the_upstream_every_byte_once(up, embedded_upstream):
    before = bytes_sent(embedded_upstream)
    report = warm(up, [image.reference for image in ALL])
    assert (report["complete"], report["images"], report["completeBefore"]) == (True, 4, 0)
    with ThreadPoolExecutor(CLIENTS) as clients:
        pulls = [(endpoint(image), image) for image in ALL for _ in range(CLIENTS)]
        list(clients.map(lambda one: pull(*one, by_digest=False), pulls))
    ratio = (bytes_sent(embedded_upstream) - before) / unique(*ALL)
    print(f"upstream bytes / unique bytes with {CLIENTS} clients after warm: {ratio:.4f}")
    assert ratio <= 1.01
    assert report["uniqueBytes"] == unique(*ALL)
    assert report["upstreamBytes"] == pytest.approx(unique(*ALL), rel=0.01)


def test_a_second_run_transfers_nothing(up, embedded_upstream):
    before = bytes_sent(embedded_upstream)
    report = warm(up, [image.reference for image in ALL])
    assert (report["completeBefore"], report["upstreamBytes"], report["ratio"]) == (4, 0, None)
    assert bytes_sent(embedded_upstream) == before


def test_a_run_that_is_killed_is_gone_on_with(up, embedded_upstream):
    references = [image.reference for image in MANY]
    file = up.path / "many.txt"
    file.write_text("\n".join(references))
    before = bytes_sent(embedded_upstream)
    process = subprocess.Popen(
        command(up, "--images", str(file), "--parallel", "1"),
        cwd=up.path,
        env=up.env,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while bytes_sent_so_far(embedded_upstream) - before < unique(*MANY) / 4:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    report = warm(up, references)
    assert report["complete"] is True
    assert 0 < report["uniqueBytes"] < unique(*MANY)
    assert report["ratio"] == pytest.approx(1, abs=0.15)
    # What was under way when it was killed may come twice.
    assert bytes_sent(embedded_upstream) - before <= unique(*MANY) + 2 * 8_100_000


def restart_container(checkout):
    checkout.client.api.restart(f"{NAME}-docker.io", timeout=1)


def restart_registry(checkout):
    """As the watch does it in the container, which goes on."""
    script = ': >/dev/shm/talos-cache-again; kill "$(cat /dev/shm/talos-cache-pid)"'
    in_container(checkout.client, f"{NAME}-docker.io", script)


@pytest.mark.parametrize(("restart", "first"), [(restart_container, 300), (restart_registry, 320)])
def test_a_cache_that_is_started_anew_meanwhile_makes_no_ratio_up(
    up, embedded_upstream, restart, first
):
    made, file = pushed_and_listed(up, embedded_upstream, f"anew-{first}", first)
    before = bytes_sent(embedded_upstream)
    process = subprocess.Popen(
        command(up, "--images", str(file), "--parallel", "1", "--json"),
        cwd=up.path,
        env=up.env,
        stdout=subprocess.PIPE,
    )
    while bytes_sent_so_far(embedded_upstream) - before < unique(*made) / 4:
        assert process.poll() is None, "it ended before the cache could be started anew"
    restart(up)
    printed, _ = process.communicate(timeout=120)
    report = json.loads(printed)
    assert (report["upstreamBytes"], report["ratio"]) == (None, None)
    assert report["uniqueBytes"] == unique(*made) or report["notComplete"]
    assert warm(up, [image.reference for image in made])["complete"] is True


def test_what_is_there_of_an_image_is_neither_fetched_nor_counted(up, embedded_upstream):
    image = images.single("docker.io", "team/half", "v1", payload(7))
    embedded_upstream.push(image)
    url = f"{endpoint(image)}/v2/team/half/manifests/v1"
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    held = requests.get(url, headers=accept, timeout=30).content
    assert held == image.manifests[0].content
    report = warm(up, [image.reference])
    assert report["uniqueBytes"] == report["upstreamBytes"] == unique(image) - len(held)


def test_two_runs_at_once_fetch_nothing_twice(up, embedded_upstream):
    """As for two clusters of one stack."""
    made, file = pushed_and_listed(up, embedded_upstream, "both", 200)
    before = bytes_sent(embedded_upstream)
    argv = command(up, "--images", str(file), "--parallel", "1")
    quiet = subprocess.DEVNULL
    runs = [subprocess.Popen(argv, cwd=up.path, env=up.env, stdout=quiet) for _ in range(2)]
    assert [process.wait() for process in runs] == [0, 0]
    assert (bytes_sent(embedded_upstream) - before) / unique(*made) <= 1.01


def test_an_image_that_the_upstream_lacks_is_named_and_the_others_come(up, embedded_upstream):
    other = images.single("docker.io", "team/four", "v1", payload(4))
    embedded_upstream.push(other)
    report = warm(up, ["docker.io/team/nothing:v9", other.reference])
    (failed,) = report["notComplete"]
    assert failed["image"] == "docker.io/team/nothing:v9"
    (why,) = failed["why"]
    assert "404" in why
    assert "manifest unknown" in why
    assert (report["fetched"], report["uniqueBytes"]) == (1, unique(other))
    assert warm(up, [other.reference])["completeBefore"] == 1


def test_a_blob_that_is_sick_upstream_is_told_and_not_kept(up, embedded_upstream):
    sick = images.single("docker.io", "team/sick", "v1", payload(5))
    embedded_upstream.push(sick)
    digest = sick.blobs[1].digest
    hexadecimal = digest.removeprefix("sha256:")
    folder = f"/var/lib/registry/docker/registry/v2/blobs/sha256/{hexadecimal[:2]}/{hexadecimal}"
    spoil = f"printf X | busybox dd of={folder}/data conv=notrunc"
    in_container(up.client, embedded_upstream.name, spoil)
    report = warm(up, [sick.reference, ONE.reference])
    (failed,) = report["notComplete"]
    assert failed["image"] == sick.reference
    (why,) = failed["why"]
    assert f"/v2/team/sick/blobs/{digest}: " in why
    assert "another digest" in why
    assert report["seconds"] < SETTLE_SECONDS, "nothing is waited for"
    listed = in_container(up.client, f"{NAME}-docker.io", "find /var/lib/registry -name data")
    assert hexadecimal not in listed


def test_another_platform_is_fetched_alone(up, embedded_upstream):
    both = images.multi_platform("quay.io", "team/platforms", "v1", payload(6, 100_000))
    embedded_upstream.push(both)
    assert warm(up, [both.reference], "--platform", "linux/arm64")["complete"] is True
    assert warm(up, [both.reference], "--platform", "linux/arm64")["completeBefore"] == 1
    assert warm(up, [both.reference], "--platform", "linux/amd64")["completeBefore"] == 0
    report = warm(up, [both.reference], "--platform", "linux/s390x")
    (failed,) = report["notComplete"]
    assert failed["why"] == [f"{both.reference}: there is none for linux/s390x"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no images selected"),
        (("--cluster", "dev"), "the stack has no cluster 'dev'; its clusters: none"),
        (("--images", "nowhere.txt"), "the list nowhere.txt can't be read"),
        (("--images", "/dev/null"), "at least one image"),
        (("--images", "/dev/null", "--platform", "amd64"), "write linux/amd64"),
        (("--images", "/dev/null", "--parallel", "0"), "--parallel 0: "),
    ],
)
def test_what_makes_no_sense_is_refused(up, arguments, said):
    done = up.run(*command(up, *arguments), check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_offline_nothing_is_fetched_and_what_is_missing_is_told(up, embedded_upstream):
    write(up, embedded_upstream, offline=True)
    try:
        assert warm(up, [ONE.reference])["completeBefore"] == 1
        said = refused(up, ["docker.io/team/nothing:v9", ONE.reference])
        assert "the stack is offline, and not all of the images are complete" in said
        assert said.splitlines()[-1].strip() == "docker.io/team/nothing:v9"
    finally:
        write(up, embedded_upstream)


def test_a_cache_that_is_not_up_is_told_before_anything(up):
    up.client.api.stop(f"{NAME}-docker.io", timeout=1)
    try:
        said = refused(up, ["docker.io/team/nothing:v9"])
        assert f"the cache {NAME}-docker.io does not answer" in said
    finally:
        up.client.api.start(f"{NAME}-docker.io")
