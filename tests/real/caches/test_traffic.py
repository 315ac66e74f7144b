"""What `status`, `logs`, `list` and `purge` say of real caches, held to the upstream's own log."""

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from random import Random

import pytest
from docker.types import LogConfig

from demo import images
from demo.client import pull
from ops.docker import temporary_container
from ops.docker.cache_logs import log_of
from ops.registry.ping import wait_for_answer
from plan.caches.cache import Cache
from plan.caches.cache_plan import DATA_PATH
from plan.images import storage
from plan.images.digest import digest_of
from plan.ownership import PROJECT_LABEL
from plan.problems import PROJECT
from plan.traffic.request_log import BLOBS, requests
from tests.checkout import REGISTRY_IMAGE, ROOT, ops_line
from tests.real.caches.conftest import PREFIX, embedded, wait_until_healthy
from tests.upstream_log import settled

STACK = "traffic"
NAME = f"{PREFIX}-traffic"
HOSTS = ("docker.io", "ghcr.io", "quay.io")
BASE_PORT = 15240
PORTS = {"docker.io": BASE_PORT, "quay.io": BASE_PORT + 2, "ghcr.io": BASE_PORT + 4}
ONE = images.single("docker.io", "traffic/one", "v1", Random(1).randbytes(1_500_000))
TWO = images.single("docker.io", "traffic/two", "v1", Random(2).randbytes(900_000))
BOTH = images.multi_platform("ghcr.io", "traffic/both", "v1", b"for each platform" * 10_000)
FOLLOW_SECONDS = 60


def endpoint(host):
    return f"http://127.0.0.1:{PORTS[host]}"


@pytest.fixture(scope="module")
def filled(checkout, embedded_upstream):
    """Three images, each pulled twice; nothing else has asked the upstream meanwhile."""
    for image in (ONE, TWO, BOTH):
        embedded_upstream.push(image)
    checkout.write_stack(
        STACK, prefix=NAME, basePort=BASE_PORT, upstreams=embedded(embedded_upstream, HOSTS)
    )
    checkout.make("up", STACK)
    wait_until_healthy(checkout, checkout.containers(STACK))
    before = len(settled(embedded_upstream.client, embedded_upstream.name))
    for image in (ONE, TWO, BOTH):
        pull(endpoint(image.host), image, by_digest=False)
    wait_until_stored(checkout, count=3)
    for image in (ONE, TWO, BOTH):
        pull(endpoint(image.host), image, by_digest=False)
    log = settled(embedded_upstream.client, embedded_upstream.name)
    checkout.sent = list(requests(log[before:]))
    return checkout


def wait_until_stored(checkout, count):
    """A client has its last byte before that is stored."""
    deadline = time.monotonic() + FOLLOW_SECONDS
    while True:
        rows = json.loads(checkout.ops("list", STACK, "--json", check=True).stdout)["images"]
        whole = [row for row in rows if row["complete"] and len(row["platforms"]) != 1]
        if len(whole) == count:
            return
        assert time.monotonic() < deadline, rows
        time.sleep(0.2)


def status(checkout):
    caches = json.loads(checkout.ops("status", STACK, "--json", check=True).stdout)["caches"]
    return {cache["upstream"]: cache for cache in caches}


def logged(checkout, *arguments):
    printed = checkout.ops("logs", STACK, "--json", *arguments, check=True).stdout
    return [json.loads(line) for line in printed.splitlines()]


def size_of(image):
    return sum(len(blob.content) for blob in image.blobs)


def test_status_counts_what_the_upstream_has_sent(filled):
    caches = status(filled)
    sent = sum(one.size for one in filled.sent if one.kind == BLOBS)
    assert sum(cache["blobs"]["fetchedBytes"] for cache in caches.values()) == sent
    assert sent == sum(size_of(image) for image in (ONE, TWO, BOTH))
    assert sum(cache["blobs"]["servedBytes"] for cache in caches.values()) == 2 * sent
    manifests = [one for one in filled.sent if one.kind != BLOBS and not one.is_head]
    assert sum(cache["manifests"]["misses"] for cache in caches.values()) == len(manifests)
    first = caches["docker.io"]
    assert (first["health"], first["mode"], first["images"]) == ("healthy", "through", 2)
    assert caches["quay.io"]["images"] == caches["quay.io"]["heldBytes"] == 0
    assert first["heldBytes"] > size_of(ONE) + size_of(TWO)
    assert first["roomBytes"] > 1_000_000_000


def test_logs_have_the_same_hits_misses_and_bytes(filled):
    lines = logged(filled)
    caches = status(filled)
    for kind, key in (("blob", "blobs"), ("manifest", "manifests")):
        results = [line["result"] for line in lines if line["kind"] == kind]
        assert results.count("hit") == sum(cache[key]["hits"] for cache in caches.values())
        assert results.count("miss") == sum(cache[key]["misses"] for cache in caches.values())
    missed = [line for line in lines if line["kind"] == "blob" and line["result"] == "miss"]
    sent = [one for one in filled.sent if one.kind == BLOBS and not one.is_head]
    assert sorted((line["digest"], line["bytes"]) for line in missed) == sorted(
        (one.reference, one.size) for one in sent
    )
    times = [line["time"] for line in lines]
    assert times == sorted(times), "of all caches, merged"


def test_the_pages_output_has_this_shape(filled):
    page = (ROOT / "docs" / "traffic.md").read_text()
    promised = page.split("<!-- status -->\n```\n")[1].split("```")[0].splitlines()
    shown = filled.ops("status", STACK, check=True).stdout.splitlines()
    assert re.split(r"\s{2,}", promised[0]) == re.split(r"\s{2,}", shown[0])
    assert shape(promised[1]) == shape(shown[1])
    promised = page.split("<!-- logs -->\n```\n")[1].split("```")[0].splitlines()
    shown = filled.ops("logs", STACK, "docker.io", check=True).stdout.splitlines()
    assert {shape(line) for line in promised} <= {shape(line) for line in shown}


def shape(line):
    """With one word for each number with its unit, time, image, and who asked."""
    for pattern, word in (
        (r"\d+(\.\d+)? ([kMG]?B|ms|s ago)\b", "amount"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", "time"),
        (r"sha256:[0-9a-f]{12}", "digest"),
        (r"docker\.io/[a-z/]+", "image"),
        (r":\w+ digest", ":tag digest"),
        (r"\b(hit|miss)\b", "result"),
        (r"\b(healthy|starting)\b", "health"),
        (r"(?<=amount)  \S+ +(?=image)", " who "),
        (r"\d+%|\b\d+\b", "number"),
    ):
        line = re.sub(pattern, word, line)
    return " ".join(line.split())


def test_logs_of_one_upstream_its_misses_and_since(filled):
    lines = logged(filled, "ghcr.io", "--misses")
    assert {(line["upstream"], line["result"]) for line in lines} == {("ghcr.io", "miss")}
    text = filled.ops("logs", STACK, "ghcr.io", "--misses", check=True).stdout.splitlines()
    assert len(text) == len(lines)
    assert "  miss  " in text[0]
    assert "ghcr.io/traffic/both" in text[0]
    done = filled.ops("logs", STACK, "--since", "1s")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no such requests in the logs" in done.stderr


def test_logs_go_on_with_what_comes(filled):
    line = ops_line("logs", STACK, "docker.io", "--follow", "--json", "--since", "1s")
    process = subprocess.Popen(
        ["env", "--default-signal=INT", *line],
        cwd=filled.path,
        env=filled.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + FOLLOW_SECONDS
        while not process.poll() and time.monotonic() < deadline:
            pull(endpoint("docker.io"), ONE, by_digest=True)
            os.set_blocking(process.stdout.fileno(), False)
            if said := process.stdout.readline():
                break
            time.sleep(0.2)
        first = json.loads(said)
        assert (first["repository"], first["result"]) == ("traffic/one", "hit")
        filled.client.api.restart(f"{NAME}-docker.io", timeout=5)
        assert not wait_for_answer(endpoint("docker.io"), FOLLOW_SECONDS)
        pull(endpoint("docker.io"), TWO, by_digest=True)
        while "traffic/two" not in said:
            assert time.monotonic() < deadline
            said = process.stdout.readline()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=FOLLOW_SECONDS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    # Docker may end the log again while the container starts.
    assert list(dict.fromkeys(errors.splitlines())) == [
        "docker.io: its cache has stopped",
        "docker.io: its cache is up again",
        "logs: interrupted",
    ]


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        ("logs", ["gcr.io"], "there is no cache of 'gcr.io'; the stack's caches: docker.io, ghcr"),
        ("logs", ["--since", "yesterday"], "--since 'yesterday': write 10m, 2h, 1d, or a time"),
        ("logs", ["--node", "dev-worker-1"], "no such node; its nodes: none: it has no cluster"),
        ("list", ["gcr.io"], "there is no cache of 'gcr.io'"),
        ("list", ["--larger", "big"], "--larger 'big': a size is a number and a unit"),
        ("list", ["--unused-since", "x"], "--unused-since 'x': write 10m, 2h, 30d"),
        ("purge", [""], "a list has at least one image"),
        ("purge", ["busybox"], "a reference starts with the registry's host"),
        (
            "purge",
            ["docker.io/traffic/none:v1"],
            "the caches do not have docker.io/traffic/none:v1",
        ),
        ("purge", ["gcr.io/a:1"], "this stack has caches only for docker.io, ghcr.io, quay.io"),
    ],
)
def test_mistakes_are_one_line_with_what_to_do(filled, command, arguments, said):
    done = filled.ops(command, STACK, *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_list_has_each_image_once_with_its_platforms(filled):
    found = json.loads(filled.ops("list", STACK, "--json", check=True).stdout)
    assert [row["image"] for row in found["images"]] == [
        image.reference for image in (ONE, TWO, BOTH)
    ]
    one, _, both = found["images"]
    assert (one["digest"], one["complete"], one["platforms"]) == (ONE.digest, True, [])
    assert one["bytes"] == size_of(ONE) + sum(len(part.content) for part in ONE.manifests)
    assert len(both["platforms"]) == 2
    assert found["bytes"] == sum(cache["heldBytes"] for cache in status(filled).values())
    table = filled.ops("list", STACK, "docker.io", "--larger", "1MB", check=True).stdout
    assert [line.split()[-1] for line in table.splitlines()[1:-1]] == [ONE.reference]


def test_purge_shows_first_what_would_go_and_removes_only_that(filled):
    stray = f"{DATA_PATH}/{storage.ROOT}/{storage.blob_folder(digest_of(b'part of no image'))}"
    put = f"mkdir -p {stray} && printf 'part of no image' > {stray}/data"
    made = filled.client.containers.get(f"{NAME}-docker.io").exec_run(["sh", "-c", put])
    assert made.exit_code == 0, made.output
    done = filled.ops("purge", STACK, TWO.reference, check=True)
    assert "1 image would go" in done.stdout
    before = json.loads(filled.ops("list", STACK, "--json", check=True).stdout)["bytes"]
    report = json.loads(
        filled.ops("purge", STACK, TWO.reference, "--yes", "--json", check=True).stdout
    )
    after = json.loads(filled.ops("list", STACK, "--json", check=True).stdout)
    assert before - after["bytes"] == report["freed"] == report["going"][0]["frees"]
    kept = filled.client.containers.get(f"{NAME}-docker.io").exec_run(["cat", f"{stray}/data"])
    assert kept.output == b"part of no image"
    assert report["freed"] >= size_of(TWO)
    assert [row["image"] for row in after["images"]] == [ONE.reference, BOTH.reference]
    assert filled.ops("verify", STACK, check=True).returncode == 0
    pull(endpoint("docker.io"), TWO, by_digest=False)
    [manifest] = [one for one in logged(filled, "--misses")[-3:] if one["kind"] == "manifest"]
    assert (manifest["repository"], manifest["tag"]) == ("traffic/two", "v1")


def test_a_purge_that_can_not_remove_everything_removes_nothing(filled):
    volume = {f"{NAME}-ghcr.io": {"bind": "/x", "mode": "rw"}}
    config = filled.client.api.create_host_config(binds=volume)
    held = filled.ops("list", STACK, "--json", check=True).stdout
    with temporary_container.container(
        filled.client, REGISTRY_IMAGE, entrypoint=["busybox", "sleep", "600"], host_config=config
    ) as user:
        filled.client.api.start(user)
        done = filled.ops("purge", STACK, ONE.reference, BOTH.reference, "--yes")
    assert done.returncode == 1
    assert f"the volume {NAME}-ghcr.io is in use by" in done.stderr
    assert done.stderr.strip().endswith("nothing was removed")
    assert filled.ops("list", STACK, "--json", check=True).stdout == held


def test_ages_are_days_in_utc_and_may_be_long(filled):
    tomorrow = (datetime.now(timezone.utc) + timedelta(days=1)).date().isoformat()
    for zone in ("Asia/Kolkata", "America/New_York"):
        env = {**filled.env, "TZ": zone}
        shown = filled.ops("list", STACK, "--unused-since", tomorrow, check=True, env=env).stdout
        assert ONE.reference in shown
    for option in ("--unused-since", "--fetched-before"):
        shown = filled.ops("list", STACK, option, "999999999d", check=True).stdout
        assert "0 images" in shown


@contextmanager
def instead(client, name, **options):
    """Another container of that name, within the block."""
    client.api.rename(name, f"{name}-away")
    try:
        client.api.start(client.api.create_container(REGISTRY_IMAGE, name=name, **options))
        yield
    finally:
        client.api.remove_container(name, force=True, v=True)
        client.api.rename(f"{name}-away", name)


def test_a_container_of_somebody_elses_is_not_shown_as_a_cache(filled):
    with instead(filled.client, f"{NAME}-quay.io", entrypoint=["busybox", "sleep", "600"]):
        shown = status(filled)["quay.io"]
    assert (shown["health"], shown["mode"]) == ("foreign", None)


def test_a_cache_that_an_earlier_version_has_made_has_no_counters(filled):
    with instead(filled.client, f"{NAME}-quay.io", labels={PROJECT_LABEL: PROJECT}):
        shown = status(filled)["quay.io"]
        table = filled.ops("status", STACK, check=True).stdout
    assert (shown["health"], shown["mode"], shown["images"]) == ("running", "through", 0)
    assert (shown["manifests"], shown["blobs"], shown["savedShare"]) == (None, None, None)
    assert "quay.io" in table


def test_with_a_closed_output_there_is_no_error(filled):
    line = shlex.join(ops_line("status", STACK))
    done = filled.run("sh", "-c", f"{line} >&-", check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_broken_cache_is_told_and_the_others_are_shown_all_the_same(filled):
    held = status(filled)["docker.io"]["heldBytes"]
    filled.client.api.stop(f"{NAME}-docker.io", timeout=5)
    filled.client.api.pause(f"{NAME}-quay.io")
    try:
        caches = status(filled)
        done = filled.ops("status", STACK, check=True)
        listed = filled.ops("list", STACK, "docker.io", check=True).stdout
    finally:
        filled.client.api.unpause(f"{NAME}-quay.io")
        filled.client.api.start(f"{NAME}-docker.io")
    assert (caches["docker.io"]["health"], caches["docker.io"]["mode"]) == ("exited", None)
    assert caches["docker.io"]["heldBytes"] == held
    assert caches["docker.io"]["blobs"] is None
    assert caches["quay.io"]["health"] == "paused"
    assert caches["ghcr.io"]["health"] == "healthy"
    assert "docker.io" in done.stdout
    assert ONE.reference in listed


def test_a_log_that_docker_has_rotated_is_told_and_what_is_left_is_shown(filled):
    """As the caches' own after 30 MB."""
    small = LogConfig(type="json-file", config={"max-size": "4k", "max-file": "2"})
    config = filled.client.api.create_host_config(log_config=small)
    with temporary_container.container(filled.client, REGISTRY_IMAGE, host_config=config) as one:
        filled.client.api.start(one)
        cache = Cache(host="docker.io", name=one, local_endpoint="", image=REGISTRY_IMAGE)
        log = log_of(filled.client, cache)
        container = filled.client.containers.get(one)
        container.exec_run(["timeout", "60", "sh", "-c", "until nc -z 127.0.0.1 5000; do :; done"])
        assert log.missing_until() is None
        ask = "for n in $(seq 60); do wget -q -O - http://127.0.0.1:5000/v2/a/manifests/1; done"
        container.exec_run(["sh", "-c", ask])
        left = list(log.lines())
        assert 0 < len(left) < 60
        assert log.missing_until() == left[0][:19]


@pytest.mark.parametrize(
    ("command", "line"), [("status", "  health     healthy"), ("list", "docker.io/traffic/one:v1")]
)
def test_tables_fit_a_narrow_terminal(filled, command, line):
    wait_until_healthy(filled, filled.containers(STACK))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ops_line(command, STACK),
        cwd=filled.path,
        env={**filled.env, "COLUMNS": "40"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
    )
    assert process.wait(timeout=FOLLOW_SECONDS) == 0
    os.close(theirs)
    printed = b""
    with suppress(OSError):  # that is how its end is told
        while some := os.read(ours, 65536):
            printed += some
    os.close(ours)
    lines = printed.decode().splitlines()
    assert max(map(len, lines)) <= 40
    assert line in lines


def test_status_for_a_ci_jobs_summary(filled):
    lines = filled.ops("status", STACK, "--markdown", check=True).stdout.splitlines()
    assert lines[0].startswith("| cache | health | mode |")
    assert lines[2].startswith("| docker.io | ")
