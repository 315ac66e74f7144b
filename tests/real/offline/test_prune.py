"""`prune` on real caches: pinned sets stay, what was used longest ago goes, with its bytes."""

import json
import signal
import subprocess
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random

import pytest

from demo import images
from demo.client import PullError, pull
from demo.images import CONFIG, LAYER, MANIFEST, Blob, Image, Manifest
from ops.commands import image_removal
from ops.docker import temporary_container, volume_hashes
from ops.docker.volume_contents import contents
from ops.docker.volumes import Volumes, opened
from ops.registry.ping import failure
from plan.caches.cache import Cache
from plan.images import completeness, last_used, pruning
from plan.images.last_used import Ledger
from plan.images.reference import Platform
from plan.upstreams import physical_name
from tests.checkout import REGISTRY_IMAGE, ops_line
from tests.real.caches.conftest import PREFIX, embedded
from tests.real.offline.volumes import FOLDER, in_container, path

STACK = "pruning"
NAME = f"{PREFIX}-pruning"
HOSTS = ("docker.io", "quay.io")
BASE_PORT = 15170
MEGABYTE = 1_000_000
AMD64 = Platform(os="linux", architecture="amd64")


def today():
    return datetime.now(timezone.utc).date().isoformat()


def payload(number, megabytes=2):
    return Random(number).randbytes(megabytes * MEGABYTE)


def layered(host, repository, tag, *payloads):
    """An image of these layers, as they are: a registry does not look into them."""
    config, layers = Blob(f"{repository}:{tag}".encode()), [Blob(one) for one in payloads]
    content = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": config.digest, "size": len(config.content)},
        "layers": [
            {"mediaType": LAYER, "digest": one.digest, "size": len(one.content)} for one in layers
        ],
    }
    manifest = Manifest(media_type=MANIFEST, content=json.dumps(content).encode())
    return Image(
        host=host,
        repository=repository,
        tag=tag,
        manifests=(manifest,),
        blobs=(config, *layers),
    )


SHARED = payload(0)
FIRST = layered("docker.io", "team/first", "v1", SHARED, payload(1))
SECOND = images.multi_platform("quay.io", "team/second", "v1", payload(2))
OLDER = layered("docker.io", "team/older", "v1", SHARED, payload(3))
NEWER = images.single("quay.io", "team/newer", "v1", payload(4))
ALL = (FIRST, SECOND, OLDER, NEWER)
# Pinned ones are the oldest.
DAYS = {OLDER: "2026-03-01", NEWER: "2026-03-02", FIRST: "2026-01-01", SECOND: "2026-01-01"}
KEEP = ("--keep", "first.txt", "--keep", "second.txt")


@pytest.fixture(scope="module")
def up(checkout, embedded_upstream):
    checkout.kills = True
    write(checkout, embedded_upstream)
    checkout.make("up", STACK)
    for image in ALL:
        embedded_upstream.push(image)
    checkout.shell = checkout.shell_env(STACK)
    (checkout.path / "first.txt").write_text(FIRST.reference)
    (checkout.path / "second.txt").write_text(SECOND.reference)
    return checkout


def write(checkout, upstream, **more):
    checkout.write_stack(
        STACK,
        prefix=NAME,
        basePort=BASE_PORT,
        upstreams=embedded(upstream, HOSTS),
        **more,
    )


@pytest.fixture
def filled(up):
    """Every image in the caches, last used on its day, by the ledger and by its tag's link."""
    for image in ALL:
        pull(endpoint(image), image, by_digest=False)
    aged(up)
    return up


@pytest.fixture
def emptied(filled):
    """The same, and nothing in the caches afterwards."""
    yield filled
    pruned(filled, "--to", "0B", "--yes")


def aged(checkout):
    """As if the pulls so far had been on DAYS: the ledger is past their lines in the logs."""
    # The next second: the ledger reads that of its last line again.
    later = datetime.now(timezone.utc) + timedelta(seconds=1)
    seen = later.isoformat(timespec="seconds").replace("+00:00", ".000000000Z")
    noted = {}
    for host in HOSTS:
        own = {image: day for image, day in DAYS.items() if image.host == host}
        touch = "find . -type f -name link -exec busybox touch -d '2026-01-01 12:00' {} +"
        in_container(checkout.client, f"{NAME}-{host}", f"cd {FOLDER} && {touch}")
        noted[host] = Ledger(
            container=checkout.client.api.inspect_container(f"{NAME}-{host}")["Id"],
            seen=seen,
            days={f"{image.repository}:{image.tag}": day for image, day in own.items()},
        )
    ledger_file(checkout).write_text(last_used.dump(noted))


def ledger_file(checkout):
    return Path(checkout.path) / ".work" / "private" / f"ledger-{STACK}.json"


def endpoint(image):
    return f"http://127.0.0.1:{port(image.host)}"


def port(host):
    return BASE_PORT + 2 * HOSTS.index(host)


def line(command, *arguments):
    return ops_line(command, STACK, *arguments)


def ops(checkout, command, *arguments):
    return checkout.run(*line(command, *arguments), check=False, env=checkout.shell)


def pruned(checkout, *arguments):
    done = ops(checkout, "prune", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def going(report):
    return [one["image"] for one in report["going"]]


def listing(checkout, *hosts):
    """Size, time of writing and name of every file, and every folder."""
    with opened(checkout.client, caches(*hosts)) as volumes:
        said = volumes.run(
            "sh", "-c", "cd /volumes && find */docker -exec busybox stat -c '%s %Y %n' {} +"
        )
    return sorted(said.decode().splitlines())


def caches(*hosts):
    return tuple(
        Cache(
            host=host,
            name=physical_name(NAME, host),
            local_endpoint=f"http://127.0.0.1:{port(host)}",
            image=REGISTRY_IMAGE,
        )
        for host in hosts or HOSTS
    )


def started(checkout):
    return [
        checkout.client.api.inspect_container(f"{NAME}-{host}")["State"]["StartedAt"]
        for host in HOSTS
    ]


def complete(checkout):
    """Every image of the caches, all of them whole by their hashes."""
    with opened(checkout.client, caches()) as volumes:
        stores = volumes.stores()
        damaged = volume_hashes.damaged(
            volumes, stores, {host: stores[host].blobs for host in HOSTS}
        )
    results = completeness.verified(stores, completeness.everything(stores), AMD64, damaged)
    assert not [result for result in results if result.faults]
    assert not any(damaged.values())
    return {str(result.image) for result in results}


def test_a_dry_run_tells_and_changes_nothing(filled):
    before, since = listing(filled), started(filled)
    done = ops(filled, "prune", *KEEP, "--to", "12MB")
    assert done.returncode == 0, done.stderr
    *_, last = done.stdout.splitlines()
    assert last == "1 image would go, 2.0 MB; nothing was changed: --yes does it"
    assert f"2026-03-01      2.0 MB  {OLDER.reference}" in done.stdout
    words = [text.split() for text in done.stdout.splitlines()]
    assert ["docker.io", "6.0", "MB", "4.0", "MB"] in words
    assert ["all", "12.0", "MB", "10.0", "MB"] in words
    assert ["first", "4.0", "MB", "1", "of", "1", "images", "are", "complete"] in words
    assert ["all,", "shared", "blobs", "once", "8.0", "MB"] in words
    assert (listing(filled), started(filled)) == (before, since)


def test_the_least_recently_used_go_and_pinned_sets_are_served_without_upstream(
    filled, embedded_upstream
):
    embedded_upstream.stop()
    try:
        report = pruned(filled, *KEEP, "--to", "8.1MB", "--yes")
        for image in (FIRST, SECOND):  # at once: they answer again
            pull(endpoint(image), image, by_digest=False)
            pull(endpoint(image), image, by_digest=True)
        for image in (OLDER, NEWER):
            with pytest.raises(PullError):
                pull(endpoint(image), image, by_digest=False)
    finally:
        embedded_upstream.plug_in()
    assert going(report) == [OLDER.reference, NEWER.reference]
    assert [one["lastUsed"] for one in report["going"]] == ["2026-03-01", "2026-03-02"]
    assert [(one["name"], one["complete"]) for one in report["pinnedSets"]] == [
        ("first", 1),
        ("second", 1),
    ]
    assert complete(filled) == {FIRST.reference, SECOND.reference}
    assert sum(report["after"].values()) <= 8.1 * MEGABYTE
    for host in HOSTS:
        # The rest of what du sees: links, folders, and the ends of blocks.
        used = int(in_container(filled.client, f"{NAME}-{host}", f"du -s -k {FOLDER}").split()[0])
        assert 0 <= used * 1024 - report["after"][host] < 400_000
        names = in_container(filled.client, f"{NAME}-{host}", f"find {FOLDER}/repositories")
        assert "older" not in names
        assert "newer" not in names, "a repository without images is none"


def test_without_pins_down_to_nothing_and_what_went_comes_back(filled):
    report = pruned(filled, "--to", "0B", "--yes")
    assert report["after"] == dict.fromkeys(HOSTS, 0)
    assert not [entry for entry in listing(filled) if "/link" in entry or "/data" in entry]
    pull(endpoint(OLDER), OLDER, by_digest=False)
    assert complete(filled) == {OLDER.reference}


def test_a_tag_that_moved_leaves_an_image_of_its_own(emptied, embedded_upstream):
    other = layered("quay.io", "team/newer", "v1", payload(5))
    embedded_upstream.push(other)
    try:
        pull(endpoint(other), other, by_digest=False)
        report = pruned(emptied, "--to", "0B")
        assert f"quay.io/team/newer@{NEWER.digest}" in going(report)
        keep = emptied.path / "moved.txt"
        keep.write_text(f"quay.io/team/newer@{NEWER.digest}")
        report = pruned(emptied, "--keep", "moved.txt", "--to", "2.1MB", "--yes")
        assert f"quay.io/team/newer@{NEWER.digest}" not in going(report)
        pull(endpoint(NEWER), NEWER, by_digest=True)
        names = in_container(emptied.client, f"{NAME}-quay.io", f"find {FOLDER}/repositories")
        assert "tags" not in names
    finally:
        embedded_upstream.push(NEWER)


def removal_of(chosen):
    return lambda volume: pruning.removal(volume, {}, chosen)


def test_what_is_pulled_after_the_decision_stays_whole(emptied, embedded_upstream):
    """Another image with the layer of one that goes comes before its cache is stopped."""
    late = layered("docker.io", "team/late", "v1", payload(3))
    embedded_upstream.push(late)
    with opened(emptied.client, caches()) as volumes:
        decision = pruning.decide(contents(volumes), {}, {}, 0, AMD64)
    chosen = [one for one in decision.going if str(one.image) == OLDER.reference]
    pull(endpoint(late), late, by_digest=False)
    deadline = time.monotonic() + 30
    while late.reference not in complete(emptied):
        assert time.monotonic() < deadline, "the client has its last byte before it is stored"
    left = image_removal._remove_from(
        emptied.client, caches("docker.io")[0], removal_of(chosen), STACK
    )
    assert complete(emptied) == {one.reference for one in (FIRST, SECOND, NEWER, late)}
    assert left == sum(
        int(entry.split()[0]) for entry in listing(emptied, "docker.io") if "/data" in entry
    )


def spoil(checkout, image, script):
    """Change a manifest's file in the volume."""
    digest = image.manifests[0].digest
    in_container(checkout.client, f"{NAME}-{image.host}", script.format(path(digest)))


def test_a_manifest_that_was_changed_keeps_its_cache_as_it_is(filled):
    """One digit of a layer's digest differs: it can be read, and names something else."""
    layer = FIRST.blobs[2].digest
    wrong = f"{layer[:-1]}{'0' if layer[-1] != '0' else '1'}"
    spoil(filled, FIRST, f"busybox sed -i s/{layer}/{wrong}/ {{}}")
    before = listing(filled, "docker.io")
    done = ops(filled, "prune", "--to", "8.2MB", "--yes")
    assert done.returncode == 1
    assert "docker.io: 1 of its manifests can't be read" in done.stderr
    assert "repair" in done.stderr
    assert listing(filled, "docker.io") == before
    assert "1 image removed" in done.stdout, "the other cache is pruned"
    done = ops(filled, "prune", "--to", "1MB", "--yes")
    assert done.returncode == 1
    assert "6.0 MB must stay" in done.stderr
    assert listing(filled, "docker.io") == before
    assert ops(filled, "repair").returncode == 0
    assert ops(filled, "prune", "--to", "1MB", "--yes").returncode == 0


def test_a_pinned_image_without_its_manifest_keeps_its_layers(filled):
    spoil(filled, FIRST, "rm -r {}")
    before = listing(filled, "docker.io")
    done = ops(filled, "prune", *KEEP, "--to", "1GB", "--yes")
    assert done.returncode == 1
    assert f"a manifest of the pinned {FIRST.reference} is missing" in done.stderr
    assert listing(filled, "docker.io") == before
    for host in HOSTS:
        filled.client.api.restart(f"{NAME}-{host}", timeout=1)
        wait_for(host)


def test_what_is_left_over_goes_and_what_is_under_way_stays(filled):
    folder = f"{FOLDER}/repositories/team/first/_uploads"
    make = " && ".join(
        f"mkdir -p {folder}/{one} && busybox head -c 1000000 /dev/zero > {folder}/{one}/data"
        for one in ("old", "new")
    )
    lost = f"{FOLDER}/blobs/sha256/ab/ab{'0' * 62}"
    make += f" && mkdir -p {lost} && busybox head -c 500000 /dev/zero > {lost}/data"
    make += f" && busybox touch -d '2026-01-01 12:00' {folder}/old/data"
    in_container(filled.client, f"{NAME}-docker.io", make)
    report = pruned(filled, "--to", "1GB", "--yes")
    assert report["going"] == []
    assert report["partsOfNoImage"] == {"docker.io": 1_500_000, "quay.io": 0}
    assert report["before"]["docker.io"] - report["after"]["docker.io"] == 1_500_000
    names = "\n".join(listing(filled, "docker.io"))
    assert "_uploads/old" not in names
    assert "_uploads/new/data" in names, "that was written just now"
    assert "0" * 62 not in names
    assert complete(filled) == {image.reference for image in ALL}
    in_container(filled.client, f"{NAME}-docker.io", f"rm -r {folder}/new")


def test_pinned_sets_that_are_too_large_change_nothing_and_are_shown(filled):
    before, since = listing(filled), started(filled)
    done = ops(filled, "prune", *KEEP, "--to", "7MB", "--yes")
    assert done.returncode == 1
    assert "8.0 MB must stay (8.0 MB pinned), more than --to 7.0 MB" in done.stderr
    assert "all, shared blobs once" in done.stdout
    assert (listing(filled), started(filled)) == (before, since)


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_killed_at_any_moment_no_tag_leads_to_nothing_and_the_next_goes_on(filled, seconds):
    process = started_prune(filled, *KEEP, "--to", "8.1MB")
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_until_unused(filled)
    assert complete(filled) >= {FIRST.reference, SECOND.reference}
    report = pruned(filled, *KEEP, "--to", "8.1MB", "--yes")
    assert complete(filled) == {FIRST.reference, SECOND.reference}
    held = [int(entry.split()[0]) for entry in listing(filled) if "/data" in entry]
    assert sum(held) == sum(report["after"].values()) < 8.1 * MEGABYTE
    # As Docker has it, a cache that was stopped so stays stopped.
    for host in HOSTS:
        filled.client.api.start(f"{NAME}-{host}")
        wait_for(host)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_broken_off_between_two_steps_no_tag_leads_to_nothing(filled, steps, monkeypatch):
    """Tags, links, empty folders, blobs."""
    with opened(filled.client, caches()) as volumes:
        decision = pruning.decide(contents(volumes), {}, {}, 0, AMD64)
    chosen = [one for one in decision.going if one.image.repository == "team/older"]
    left = steps
    run = Volumes.run

    def broken_off(self, *argv):
        nonlocal left
        done = run(self, *argv)
        left -= argv[:2] == ("busybox", "rm") or image_removal._EMPTY in argv
        if not left:
            raise KeyboardInterrupt
        return done

    with monkeypatch.context() as patched:
        patched.setattr(Volumes, "run", broken_off)
        with pytest.raises(KeyboardInterrupt):
            image_removal._remove_from(
                filled.client, caches("docker.io")[0], removal_of(chosen), STACK
            )
    wait_for("docker.io")
    kept = {FIRST.reference, SECOND.reference, NEWER.reference}
    assert complete(filled) == kept
    pruned(filled, *KEEP, "--to", "10.1MB", "--yes")
    assert complete(filled) == kept
    names = "\n".join(listing(filled, "docker.io"))
    assert "older" not in names
    assert OLDER.blobs[2].digest.removeprefix("sha256:") not in names


def test_after_a_kill_make_up_starts_the_cache_again(filled):
    process = started_prune(filled, *KEEP, "--to", "8.1MB")
    while filled.client.containers.get(f"{NAME}-docker.io").status == "running":
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    assert process.communicate()[1] == ""
    wait_until_unused(filled)
    filled.make("up", STACK)
    pull(endpoint(FIRST), FIRST, by_digest=False)


def wait_until_unused(checkout):
    """Until nothing of a killed command runs any more.

    Its container ends by itself. One that is not started yet may be about to be, and is removed;
    one that Docker is about to make is never started, and in nobody's way until the volume goes.
    """
    temporary_container.remove_from(checkout.client, checkout.volumes(f"{NAME}-"))
    deadline = time.monotonic() + 30
    while running := [row for row in checkout.passing(STACK) if row["State"] == "running"]:
        assert time.monotonic() < deadline, running
        time.sleep(0.1)


def started_prune(checkout, *arguments):
    """A run that has just said that it stops the first cache."""
    process = subprocess.Popen(
        # Whoever runs the tests in the background has SIGINT ignored, and all that they start.
        ["env", "--default-signal=INT", *line("prune", "--yes", *arguments)],
        cwd=checkout.path,
        env=checkout.shell,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = process.stderr.readline()
    assert said.startswith(f"{NAME}-docker.io is stopped for a moment ")
    assert f"make up STACK={STACK} " in said
    return process


@pytest.mark.parametrize(("sent", "seconds"), [(signal.SIGTERM, 0.0), (signal.SIGINT, 0.2)])
def test_interrupted_it_starts_the_cache_again(filled, sent, seconds):
    process = started_prune(filled, "--to", "0B")
    time.sleep(seconds)
    process.send_signal(sent)
    process.communicate()
    assert process.returncode != 0
    wait_for("docker.io")
    time.sleep(1)
    wait_for("docker.io")
    complete(filled)


def test_interrupted_while_docker_stops_the_cache_it_runs_afterwards(filled):
    """The registry does not hear that it is to end, so that Docker waits before it kills it."""
    name = f"{NAME}-docker.io"
    filled.client.api.kill(name, signal="SIGSTOP")
    process = started_prune(filled, "--to", "0B")
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    wait_for("docker.io")
    assert complete(filled) == {image.reference for image in ALL}


def test_a_cache_that_was_stopped_stays_so(filled):
    name = f"{NAME}-quay.io"
    filled.client.api.stop(name, timeout=1)
    try:
        pruned(filled, "--to", "0B", "--yes")
        assert filled.client.containers.get(name).status == "exited"
    finally:
        filled.client.api.start(name)
        wait_for("quay.io")


def test_while_another_command_has_the_volume_open_nothing_goes(filled):
    with opened(filled.client, caches("docker.io")) as other:
        name = filled.client.containers.get(other.container).name
        done = ops(filled, "prune", "--to", "0B", "--yes")
    assert done.returncode == 1
    assert f"the volume {NAME}-docker.io is in use by {name}" in done.stderr
    assert FIRST.reference in complete(filled)


def test_a_pull_is_noted_and_outlives_the_containers(filled, embedded_upstream):
    time.sleep(1)
    first = today()
    pull(endpoint(OLDER), OLDER, by_digest=True)
    noted = json.loads(ops(filled, "ledger", "--json").stdout)
    assert noted["docker.io"][f"team/older@{OLDER.digest}"] in (first, today())
    assert noted["docker.io"]["team/older:v1"] == "2026-03-01", "that was noted before"
    assert noted["docker.io"]["team/first:v1"] == "2026-01-01"
    assert ledger_file(filled).stat().st_mode & 0o777 == 0o600
    assert ledger_file(filled).parent.stat().st_mode & 0o777 == 0o700
    assert going(pruned(filled, "--to", "0B"))[-1] == OLDER.reference, "a use by digest is one"
    # The read-only registry of an offline stack has the same log; down keeps what it says.
    write(filled, embedded_upstream, offline=True)
    filled.make("up", STACK)
    pull(endpoint(SECOND), SECOND, by_digest=False)
    write(filled, embedded_upstream)
    filled.make("down", STACK)
    days = last_used.parse(ledger_file(filled).read_text())["quay.io"].days
    assert days["team/second:v1"] in (first, today())
    filled.make("up", STACK)
    assert set(going(pruned(filled, "--to", "0B"))[-2:]) == {OLDER.reference, SECOND.reference}


def test_what_the_ledger_does_not_know_was_used_when_its_tag_was_written(filled):
    ledger_file(filled).unlink()
    written = f"{FOLDER}/repositories/team/older/_manifests/tags/v1/current/link"
    touch = f"busybox touch -d '2026-02-03 12:00' {written}"
    in_container(filled.client, f"{NAME}-docker.io", touch)
    # Without a ledger all of the log is read again: made anew, the containers have none.
    for host in HOSTS:
        filled.client.api.remove_container(f"{NAME}-{host}", force=True)
    report = pruned(filled, "--to", "0B")
    days = {one["image"]: one["lastUsed"] for one in report["going"]}
    assert days == {**dict.fromkeys(days, "2026-01-01"), OLDER.reference: "2026-02-03"}
    filled.make("up", STACK)


def wait_for(host):
    deadline = time.monotonic() + 30
    while why := failure(f"http://127.0.0.1:{port(host)}"):
        assert time.monotonic() < deadline, why
        time.sleep(0.1)


REFUSED = (
    (("--to", "lots"), "--to 'lots': a size is a number and a unit, such as 20GB"),
    (("--to", "20"), "--to '20': a size is a number and a unit"),
    (("--to", "1GB", "--keep", "nowhere.txt"), "the list nowhere.txt can't be read"),
    (("--to", "1GB", "--keep", "/dev/null"), "at least one image"),
    (("--to", "1GB", "--keep", "first.txt", "--keep", "./first.txt"), "a set 'first'"),
    (("--to", "1GB", "--platform", "amd64"), "write linux/amd64"),
    (("--to", "1GB", "--keep-talos", "latest"), "talosctl"),
)


def test_what_makes_no_sense_is_refused_and_nothing_changes(filled):
    before = listing(filled)
    for arguments, said in REFUSED:
        done = ops(filled, "prune", *arguments, "--yes")
        assert (done.returncode, done.stdout) == (1, ""), arguments
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert listing(filled) == before


def test_a_ledger_that_is_damaged_is_told_and_up_goes_on(up):
    ledger_file(up).write_text("[]")
    try:
        done = ops(up, "prune", "--to", "1GB")
        assert done.returncode == 1
        assert "not a ledger): remove it" in done.stderr
        assert "could not update the ledger" in up.make("up", STACK).stderr
    finally:
        ledger_file(up).unlink()
