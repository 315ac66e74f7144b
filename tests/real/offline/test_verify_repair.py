"""`verify` reports what is missing or damaged, offline; `repair` fixes it."""

import json
import subprocess
import time
from pathlib import Path

import docker
import pytest

from demo import images
from demo.client import PullError, pull
from ops.docker.volumes import opened
from ops.registry.ping import wait_for_answer
from plan.caches.cache import Cache
from plan.images.storage import ROOT, blob_path
from plan.settings.keys import DEFAULTS
from tests.checkout import ops_line
from tests.real.caches.conftest import IMAGES, PREFIX, embedded
from tests.real.offline.volumes import FOLDER, cut_short, damage, in_container, once_stored, path
from tests.upstream_log import requests_answered

STACK = "verify"
KILLS = 5
NAME = f"{PREFIX}-verify"
HOSTS = ("docker.io", "registry.k8s.io", "ghcr.io")
BASE_PORT = 15200
ENDPOINTS = {"docker.io": 0, "registry.k8s.io": 1, "ghcr.io": 4}
HELLO, TWO_PLATFORMS, ARTIFACT = IMAGES
MORE = tuple(
    images.multi_platform("docker.io", f"team/app{number}", "v1", b"app %d" % number)
    for number in range(40)
)


@pytest.fixture(scope="module")
def up(checkout, embedded_upstream):
    checkout.kills = True
    config = {"prefix": NAME, "basePort": BASE_PORT, "cache": {"onDestroy": "delete"}}
    upstreams = embedded(embedded_upstream, HOSTS)
    checkout.write_stack(STACK, upstreams=upstreams, **config)
    checkout.make("up", STACK)
    for image in IMAGES:
        pull_through(image)
    return checkout


@pytest.fixture
def sick(up):
    """The caches, to be damaged; whole again afterwards."""
    yield up
    ops(up, "repair")
    for image in IMAGES:
        pull_through(image)


def pull_through(image):
    pull(f"http://127.0.0.1:{BASE_PORT + ENDPOINTS[image.host]}", image, by_digest=False)


def ops(checkout, command, *arguments):
    return checkout.ops(command, STACK, *arguments)


def report(checkout, *arguments):
    return json.loads(ops(checkout, "verify", "--json", *arguments).stdout)


def faults(checkout, *arguments):
    """(image, part, digest, problem) of everything that verify finds."""
    return {
        (entry["image"], fault["part"], fault["digest"], fault["problem"])
        for entry in report(checkout, *arguments)["images"]
        for fault in entry["faults"]
    }


def listed(checkout, *references):
    file = checkout.path / "images.txt"
    file.write_text("\n".join(references))
    return "--images", str(file)


def layer(image):
    return image.blobs[1].digest


def test_everything_that_was_pulled_is_complete(up):
    done = ops(up, "verify")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("3 of 3 images are complete")
    assert report(up, "--deep")["complete"] is True


def test_it_is_reached_by_make_too(up):
    assert "3 of 3 images are complete" in up.make("verify", STACK, "ARGS=--deep").stdout


def test_what_is_not_there_is_told_and_the_upstream_is_not_asked(up, embedded_upstream):
    before = requests_answered(embedded_upstream)
    images_ = listed(up, HELLO.reference, "docker.io/library/never:1", "ghcr.io/nobody/nothing:2")
    done = ops(up, "verify", *images_)
    assert done.returncode == 1
    assert "1 of 3 images are complete" in done.stdout
    assert "missing     docker.io/library/never:1" in done.stdout
    assert requests_answered(embedded_upstream) == before, "the upstream is up, and is not asked"


def test_it_works_with_the_upstream_and_the_caches_away(up, embedded_upstream):
    embedded_upstream.stop()
    names = [f"{NAME}-{host}" for host in HOSTS]
    try:
        for name in names:
            up.client.api.stop(name, timeout=1)
        assert report(up, "--deep")["complete"] is True
    finally:
        for name in names:
            up.client.api.start(name)
        embedded_upstream.plug_in()


def test_another_platform_that_was_not_pulled_is_told(up):
    images_ = listed(up, TWO_PLATFORMS.reference)
    assert faults(up, *images_, "--platform", "linux/arm64") == set(), "all of it was pulled"
    missing = {(TWO_PLATFORMS.reference, "platform", "", "missing")}
    assert faults(up, *images_, "--platform", "linux/s390x") == missing


def test_a_blob_that_is_cut_short_is_told_and_mended(sick):
    cut_short(sick.client, f"{NAME}-docker.io", layer(HELLO))
    assert faults(sick) == {(HELLO.reference, "layer", layer(HELLO), "wrong size")}
    done = ops(sick, "repair")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"{NAME}-docker.io is stopped for a moment")
    assert len(done.stderr.splitlines()) == 1, "no other cache is touched"
    assert "removed, fetched again" in done.stdout
    assert faults(sick, "--deep") == set()
    pull_through(HELLO)


def test_a_blob_with_another_content_is_told_by_hashing_and_mended(sick):
    damage(sick.client, f"{NAME}-docker.io", layer(HELLO))
    with pytest.raises(PullError):
        pull_through(HELLO)
    assert faults(sick) == set(), "its size is right"
    assert faults(sick, "--deep") == {(HELLO.reference, "layer", layer(HELLO), "damaged")}
    repaired = json.loads(ops(sick, "repair", "--json").stdout)
    assert repaired["whole"] is True
    assert [(one["host"], one["digest"]) for one in repaired["damaged"]] == [
        ("docker.io", layer(HELLO))
    ]
    pull_through(HELLO)


def test_a_damaged_manifest_is_told_without_hashing_and_mended(sick):
    damage(sick.client, f"{NAME}-registry.k8s.io", TWO_PLATFORMS.manifests[0].digest)
    found = (TWO_PLATFORMS.reference, "manifest", TWO_PLATFORMS.manifests[0].digest, "damaged")
    assert faults(sick) == {found}
    assert ops(sick, "repair").returncode == 0
    pull_through(TWO_PLATFORMS)


def test_damage_outside_the_list_is_found_too(sick):
    """The other platform of an image is damaged: no fault of what is asked for, but damage."""
    other = TWO_PLATFORMS.blobs[3].digest
    damage(sick.client, f"{NAME}-registry.k8s.io", other)
    found = report(sick, "--deep")
    assert found["complete"] is False
    assert found["damagedElsewhere"] == [{"host": "registry.k8s.io", "digest": other}]


def test_without_the_upstream_damage_is_removed_and_told(sick, embedded_upstream):
    damage(sick.client, f"{NAME}-docker.io", layer(HELLO))
    embedded_upstream.stop()
    try:
        done = ops(sick, "repair")
        assert done.returncode == 1
        assert "not fetched again" in done.stdout
        assert faults(sick) == {(HELLO.reference, "layer", layer(HELLO), "missing")}
    finally:
        embedded_upstream.plug_in()
    pull_through(HELLO)


def test_killed_after_removing_it_leaves_no_cache_that_serves_what_is_gone(sick):
    name = f"{NAME}-docker.io"
    # The kill has to come before the start, or the test proves nothing.
    assert any(killed_after_removing(sick, name) == "exited" for _ in range(KILLS))
    assert faults(sick) == {(HELLO.reference, "layer", layer(HELLO), "missing")}
    sick.client.api.start(name)
    assert not wait_for_answer(f"http://127.0.0.1:{BASE_PORT}", 30)
    pull_through(HELLO)


def killed_after_removing(sick, name):
    """A damaged blob is removed, and who does it killed; status of the cache's container then."""
    damage(sick.client, name, layer(HELLO))
    volume = Path(sick.client.api.inspect_volume(name)["Mountpoint"])
    there = volume / ROOT / blob_path(layer(HELLO))
    process = subprocess.Popen(
        ops_line("repair", STACK), cwd=sick.path, env=sick.env, stdout=subprocess.DEVNULL
    )
    while there.exists():
        assert process.poll() is None
    process.kill()
    process.wait()
    status = sick.client.containers.get(name).status
    if status != "exited":
        assert not wait_for_answer(f"http://127.0.0.1:{BASE_PORT}", 30)
        pull_through(HELLO)
    return status


def test_a_blob_that_is_gone_is_told_and_comes_with_the_next_pull(sick):
    folder = path(layer(HELLO)).removesuffix("/data")
    remove = once_stored(layer(HELLO), f"busybox rm -r {folder}")
    in_container(sick.client, f"{NAME}-docker.io", remove)
    assert faults(sick) == {(HELLO.reference, "layer", layer(HELLO), "missing")}
    sick.client.api.restart(f"{NAME}-docker.io", timeout=1)
    assert not wait_for_answer(f"http://127.0.0.1:{BASE_PORT}", 30)
    pull_through(HELLO)
    assert faults(sick) == set()


@pytest.mark.parametrize("part", ["layer", "manifest"])
def test_a_file_that_is_gone_while_the_cache_runs_is_fetched_again(sick, part):
    """The registry goes on announcing what it remembers of a blob; a manifest it looks up."""
    digest = layer(HELLO) if part == "layer" else HELLO.manifests[0].digest
    remove = once_stored(digest, f"busybox rm {path(digest)}")
    in_container(sick.client, f"{NAME}-docker.io", remove)
    assert faults(sick) == {(HELLO.reference, part, digest, "missing")}
    if part == "layer":
        warmed = ops(sick, "warm", *listed(sick, HELLO.reference))
        assert warmed.returncode == 1
        assert f"layer {digest}: its file is gone" in warmed.stdout
    done = ops(sick, "repair")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{digest}  its file was gone, fetched again" in done.stdout
    assert "0 damaged, 1 missing" in done.stdout
    assert faults(sick, "--deep") == set()
    pull_through(HELLO)


def test_a_download_that_nobody_writes_any_more_goes_with_repair(sick):
    uploads = f"{FOLDER}/repositories/library/hello/_uploads"
    make = " && ".join(
        f"mkdir -p {uploads}/{one} && printf wrong > {uploads}/{one}/data" for one in ("old", "new")
    )
    touch = f"busybox touch -d '2026-01-01 12:00' {uploads}/old/data"
    in_container(sick.client, f"{NAME}-docker.io", f"{make} && {touch}")
    report = json.loads(ops(sick, "repair", "--json").stdout)
    assert report["unfinishedDownloads"] == {"removed": 1, "bytes": 5}
    left = in_container(sick.client, f"{NAME}-docker.io", f"ls {uploads}; rm -r {uploads}/new")
    assert left.split() == ["new"], "that was written just now"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("busybox:1", "the registry's host"),
        ("quay.io/team/app:1", "docker.io, ghcr.io, registry.k8s.io"),
        ("", "at least one image"),
    ],
)
def test_a_wrong_list_is_refused(up, text, said):
    done = ops(up, "verify", *listed(up, text))
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_list_that_is_not_there_is_refused(up):
    done = ops(up, "verify", "--images", "nowhere.txt")
    assert done.returncode == 1
    assert done.stderr.startswith("verify: the list nowhere.txt can't be read")


def test_forty_images_are_quick(up, embedded_upstream):
    for image in MORE:
        embedded_upstream.push(image)
        pull_through(image)
    images_ = listed(up, *(image.reference for image in MORE))
    env = up.shell_env(STACK)
    argv = (".work/venv/bin/python", "-m", "ops", "verify", "--stack", STACK, *images_)
    started = time.monotonic()
    done = up.run(*argv, env=env)
    seconds = time.monotonic() - started
    print(f"verify of 40 images: {seconds:.2f} s; make bench has the limit")
    assert "40 of 40 images are complete" in done.stdout
    assert seconds < 20, "on a machine that is busy with other tests"


def test_the_look_into_volumes_has_no_network_writes_nothing_and_leaves_nothing(up):
    image = DEFAULTS["cache.image"]
    cache = Cache(host="docker.io", name=f"{NAME}-docker.io", local_endpoint="", image=image)
    with opened(up.client, [cache]) as volumes:
        made = up.client.api.inspect_container(volumes.container)
        assert made["HostConfig"]["NetworkMode"] == "none"
        assert made["HostConfig"]["ReadonlyRootfs"] is True
        mounted = {mount.get("Name"): mount["RW"] for mount in made["Mounts"]}
        assert mounted == {cache.name: False}, "no volume but the cache's, and that one only read"
    with pytest.raises(docker.errors.NotFound):
        up.client.api.inspect_container(volumes.container)
