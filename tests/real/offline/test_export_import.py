"""Images carried in one archive to a Docker that has nothing and reaches nobody."""

import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from random import Random

import pytest
import requests
import zstandard

from demo import images
from demo.client import PullError, pull
from demo.images import Image
from ops.docker.volumes import MOUNT, opened
from plan.caches.cache import Cache
from plan.images.storage import STAGING
from plan.settings.keys import DEFAULTS
from tests.checkout import ops_line, remove_volume
from tests.real.caches.conftest import IMAGES, PREFIX, embedded
from tests.real.offline.second_docker import second_docker
from tests.real.offline.volumes import cut_short, damage

STACK = "carry"
OTHER = "carried"
HOSTS = ("docker.io", "registry.k8s.io", "ghcr.io")
PORTS = {"docker.io": 0, "registry.k8s.io": 1, "ghcr.io": 4}
BASE_PORT = 15260
OTHER_PORT = 15270
HELLO, TWO_PLATFORMS, ARTIFACT = IMAGES
BIG = images.single("docker.io", "team/big", "v1", Random(7).randbytes(60_000_000))


@pytest.fixture(scope="module")
def up(checkout, embedded_upstream):
    checkout.kills = True
    write(checkout, embedded_upstream)
    checkout.make("up", STACK)
    embedded_upstream.push(BIG)
    for image in (*IMAGES, BIG):
        pull_from(image, BASE_PORT)
    # On the other side: other caches, with volumes of their own, and never an upstream.
    write(checkout, embedded_upstream, stack=OTHER, port=OTHER_PORT, offline=True)
    return checkout


def write(checkout, upstream, *, stack=STACK, port=BASE_PORT, **more):
    config = {"prefix": f"{PREFIX}-{stack}", "basePort": port, "cache": {"onDestroy": "delete"}}
    checkout.write_stack(stack, upstreams=embedded(upstream, HOSTS), **config, **more)


@pytest.fixture(scope="module")
def archive(up, tmp_path_factory):
    made = tmp_path_factory.mktemp("archive") / "all.tar.zst"
    done = ops(up, "export", str(made), "--no-boot-assets")
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def empty(up):
    """The other side without any volume."""
    remove_volumes(up)
    yield up
    remove_volumes(up)


def remove_volumes(checkout):
    for name in checkout.volumes(f"{PREFIX}-{OTHER}-"):
        remove_volume(checkout.client, name)


def pull_from(image, port):
    pull(f"http://127.0.0.1:{port + PORTS[image.host]}", image, by_digest=False)


def ops(checkout, command, *arguments, stack=STACK, env=None):
    argv = (".work/venv/bin/python", "-m", "ops", command, "--stack", stack, *arguments)
    return checkout.run(*argv, check=False, env={**checkout.shell_env(stack), **(env or {})})


def imported(checkout, archive, *arguments):
    return ops(checkout, "import", str(archive), *arguments, stack=OTHER)


def complete(checkout):
    done = ops(checkout, "verify", "--deep", "--json", stack=OTHER)
    report = json.loads(done.stdout)
    return report["complete"], {entry["image"] for entry in report["images"]}


CACHES = tuple(
    Cache(
        host=host,
        name=f"{PREFIX}-{OTHER}-{host}",
        local_endpoint="",
        image=str(DEFAULTS["cache.image"]),
    )
    for host in HOSTS
)
ALL = {image.reference for image in (*IMAGES, BIG)}


def test_the_archive_is_an_image_layout_that_plain_tools_read(archive, tmp_path):
    assert archive.stat().st_mode & 0o077 == 0, "private images may be in it"
    subprocess.run(["tar", "--zstd", "-xf", archive, "-C", tmp_path], check=True)
    index = json.loads((tmp_path / "index.json").read_text())
    named = {one["annotations"]["org.opencontainers.image.ref.name"] for one in index["manifests"]}
    assert named == ALL
    source = f"oci:{tmp_path}:{HELLO.reference}"
    inspected = subprocess.run(
        ["skopeo", "inspect", "--raw", source], capture_output=True, check=True
    )
    assert inspected.stdout == HELLO.manifests[-1].content
    lock = json.loads((tmp_path / "talos-cache.json").read_text())
    assert {one["image"]: one["digest"] for one in lock["images"]}[HELLO.reference] == HELLO.digest


def test_everything_is_complete_on_the_other_side_and_served_without_an_upstream(empty, archive):
    done = imported(empty, archive)
    assert (done.returncode, done.stderr) == (0, "")
    assert complete(empty) == (True, ALL)
    empty.make("up", OTHER)
    try:
        for image in (HELLO, ARTIFACT, BIG):
            pull_from(image, OTHER_PORT)
    finally:
        empty.make("down", OTHER)


def test_a_docker_that_has_nothing_gets_the_registry_too(empty, archive, tmp_path):
    # A socket's path is at most 107 bytes long.
    short = tmp_path.parent / "d"
    short.mkdir()
    with second_docker(short, network=87) as other:
        there = {"DOCKER_HOST": other.host}
        done = ops(empty, "import", str(archive), "--json", stack=OTHER, env=there)
        assert done.returncode == 0, done.stderr
        report = ops(empty, "verify", "--deep", stack=OTHER, env=there)
        assert report.returncode == 0, report.stdout
        assert "4 of 4 images are complete" in report.stdout
    assert empty.volumes(f"{PREFIX}-{OTHER}-") == set(), "the machine's own Docker was not used"


def test_an_existing_set_is_not_disturbed(empty, archive, embedded_upstream):
    write(empty, embedded_upstream, stack=OTHER, port=OTHER_PORT)
    empty.make("up", OTHER)
    try:
        pull_from(HELLO, OTHER_PORT)
        before = empty.containers(OTHER)
        report = json.loads(imported(empty, archive, "--json").stdout)
        assert report["newBlobs"] > 0
        assert empty.containers(OTHER) == before
        embedded_upstream.stop()
        try:
            for image in (HELLO, ARTIFACT, BIG):
                pull_from(image, OTHER_PORT)
        finally:
            embedded_upstream.plug_in()
        again = json.loads(imported(empty, archive, "--json").stdout)
        assert again["newBlobs"] == 0, "what is there is not written again"
    finally:
        empty.make("down", OTHER)
        write(empty, embedded_upstream, stack=OTHER, port=OTHER_PORT, offline=True)


def test_a_tag_that_means_another_image_is_a_conflict_until_one_says_so(
    empty, archive, embedded_upstream, tmp_path
):
    assert imported(empty, archive).returncode == 0
    other = images.single("docker.io", "library/hello", "1", b"another hello\n")
    moved = Image(
        host="docker.io",
        repository="library/hello",
        tag="1",
        manifests=other.manifests,
        blobs=other.blobs,
    )
    embedded_upstream.push(moved)
    try:
        pull_from(moved, BASE_PORT)
        newer = tmp_path / "newer.tar.zst"
        list_ = tmp_path / "hello.txt"
        list_.write_text(moved.reference)
        made = ops(empty, "export", str(newer), "--images", str(list_), "--no-boot-assets")
        assert made.returncode == 0, made.stderr
        done = imported(empty, newer)
        assert done.returncode == 1
        assert f"{HELLO.reference}: the cache has {HELLO.digest}" in done.stderr
        assert complete(empty) == (True, ALL)
        assert imported(empty, newer, "--replace-tags").returncode == 0
        assert complete(empty) == (True, ALL)
    finally:
        embedded_upstream.push(HELLO)
        pull_from(HELLO, BASE_PORT)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "killed"])
def test_an_interrupted_export_leaves_no_archive_and_the_next_one_is_whole(up, tmp_path, sent):
    target = tmp_path / "all.tar.zst"
    process = subprocess.Popen(
        # Whoever runs the tests in the background has SIGINT ignored, and all that they start.
        [
            "env",
            "--default-signal=INT",
            *ops_line("export", STACK, str(target), "--no-boot-assets"),
        ],
        cwd=up.path,
        env=up.shell_env(STACK),
        stdout=subprocess.DEVNULL,
    )
    partial = tmp_path / "all.tar.zst.partial"
    deadline = time.monotonic() + 60
    while not (partial.exists() and partial.stat().st_size > 1_000_000):
        assert process.poll() is None, "it ended before it could be interrupted"
        assert time.monotonic() < deadline
    process.send_signal(sent)
    assert process.wait() != 0
    left = [partial] if sent == signal.SIGKILL else []
    assert list(tmp_path.iterdir()) == left
    done = ops(up, "export", str(target), "--no-boot-assets")
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == [target]
    assert names(target)[:2] == ["talos-cache.json", "registry-image.tar"]
    assert len(names(target)) == len(set(names(target))), "no member twice"


def names(path):
    with open_archive(path) as members:
        return [member.name for member in members]


def open_archive(path):
    stream = zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True)
    return tarfile.open(fileobj=stream, mode="r|")


def rewritten(source, target, change):
    """The archive with its members changed: `change(name, content)` gives pairs of the same."""
    with open_archive(source) as members, target.open("wb") as file:
        stream = zstandard.ZstdCompressor(level=1).stream_writer(file, closefd=False)
        with stream, tarfile.open(fileobj=stream, mode="w|") as made:
            for member in members:
                content = members.extractfile(member).read()
                for name, new in change(member.name, content):
                    entry = tarfile.TarInfo(name)
                    entry.size = len(new)
                    made.addfile(entry, io.BytesIO(new))
    return target


def tamper_with(name, new):
    def change(member, content):
        return [(member, new(content) if member == name else content)]

    return change


def without(text, kind):
    """The lock, with parts of this kind in no image; their files stay."""
    lock = json.loads(text)
    some = lock["images"][-1]
    lock["images"] = [one for one in lock["images"] if one is not some] + [
        {**some, "parts": [part for part in some["parts"] if part["part"] != kind]},
    ]
    kept = {part["digest"]: part for one in lock["images"] for part in one["parts"]}
    lost = [part for part in some["parts"] if part["digest"] not in kept]
    # Another image names them, so that no file is unknown.
    lock["images"][0]["parts"] += lost
    return json.dumps(lock).encode()


def files(checkout):
    """Every file that the other side's volumes hold."""
    with opened(checkout.client, CACHES) as volumes:
        if not volumes.present:
            return set()
        return set(volumes.run("find", MOUNT, "-type", "f").decode().split())


LAYER = f"blobs/sha256/{HELLO.blobs[1].digest.removeprefix('sha256:')}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (tamper_with(LAYER, lambda content: b"X" + content[1:]), "a file in it was changed"),
        (tamper_with(LAYER, lambda content: content[:-1]), "does not have the size"),
        (
            tamper_with("registry-image.tar", lambda content: content[:-1] + b"X"),
            "a file in it was changed",
        ),
        (
            lambda name, content: [] if name == LAYER else [(name, content)],
            "it is truncated: 1 of",
        ),
        (
            lambda name, content: (
                [(name, content), ("../../etc/cron.d/x", b"x")]
                if name == "index.json"
                else [(name, content)]
            ),
            "not in its talos-cache.json: ../../etc/cron.d/x",
        ),
        (
            tamper_with(
                "talos-cache.json", lambda text: text.replace(b'"format": 1', b'"format": 9')
            ),
            "its format is 9",
        ),
        (
            tamper_with("talos-cache.json", lambda text: text.replace(b"ghcr.io", b"quay.io")),
            "it has images of quay.io, but this stack has no cache for them",
        ),
        (
            lambda name, content: [] if name == "talos-cache.json" else [(name, content)],
            "it does not begin with talos-cache.json",
        ),
        (
            tamper_with(
                "talos-cache.json", lambda text: text.replace(b"linux/amd64", b"linux-amd64")
            ),
            "its talos-cache.json is damaged (ValueError(\"not a platform: 'linux-amd64'\"))",
        ),
        (
            tamper_with("talos-cache.json", lambda text: without(text, "layer")),
            "it does not have all parts of",
        ),
        (tamper_with("talos-cache.json", lambda text: b"[" * 100_000), "is not a lock file"),
    ],
    ids=[
        "changed",
        "shortened",
        "registry",
        "missing",
        "foreign",
        "newer",
        "unknown-registry",
        "no-lock",
        "platform",
        "part-left-out",
        "nested",
    ],
)
def test_an_archive_that_was_tampered_with_is_refused(empty, archive, tmp_path, change, said):
    tampered = rewritten(archive, tmp_path / "tampered.tar.zst", change)
    done = imported(empty, tampered)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert complete(empty)[1] == set(), "no image is to be seen"
    assert not [path for path in files(empty) if path.endswith("/link")], "nothing was linked"
    assert not [path for path in files(empty) if STAGING in path], "no part of a blob is left"


def test_an_archive_that_is_cut_short_is_gone_on_with_by_a_whole_one(empty, archive, tmp_path):
    cut = tmp_path / "cut.tar.zst"
    shutil.copy(archive, cut)
    with cut.open("r+b") as file:
        file.truncate(archive.stat().st_size - 1_000_000)
    done = imported(empty, cut)
    assert done.returncode == 1
    assert "truncated" in done.stderr
    assert complete(empty)[1] == set()
    assert not [path for path in files(empty) if STAGING in path], "no part of a blob is left"
    kept = blobs(empty)
    assert HELLO.blobs[1].digest in kept, "it came before the cut"
    report = json.loads(imported(empty, archive, "--json").stdout)
    assert report["images"] == len(ALL)
    assert report["newBlobs"] == len(blobs(empty)) - len(kept), "what was kept is not written again"
    assert complete(empty) == (True, ALL)


def test_what_a_killed_import_has_half_done_goes_with_the_next(empty, archive, tmp_path):
    pipe = tmp_path / "half.tar.zst"
    os.mkfifo(pipe)
    line, env = ops_line("import", OTHER, str(pipe)), empty.shell_env(OTHER)
    killed = subprocess.Popen(line, cwd=empty.path, env=env, stderr=subprocess.DEVNULL)
    try:
        with pipe.open("wb") as half:
            # More than half of the archive is the one large layer, and it is not the last member.
            half.write(archive.read_bytes()[: -len(BIG.blobs[1].content) // 2])
            half.flush()
            wait_until(lambda: [path for path in files(empty) if STAGING in path])
            killed.kill()
            killed.wait()
    finally:
        killed.kill()
    assert complete(empty)[1] == set()
    done = imported(empty, archive)
    assert done.returncode == 0, done.stderr
    assert not [path for path in files(empty) if STAGING in path]
    assert complete(empty) == (True, ALL)


def wait_until(seen):
    deadline = time.monotonic() + 120
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def blobs(checkout):
    """Digests of what the other side holds."""
    with opened(checkout.client, CACHES) as volumes:
        return {digest for held in volumes.stores().values() for digest in held.blobs}


def test_what_is_damaged_already_is_taken_from_the_archive(empty, archive, embedded_upstream):
    assert imported(empty, archive).returncode == 0
    empty.make("up", OTHER)
    name = f"{PREFIX}-{OTHER}-docker.io"
    try:
        damage(empty.client, name, HELLO.blobs[1].digest)
        cut_short(empty.client, name, BIG.blobs[1].digest)
        # From now on the registry remembers the size of what is cut short.
        for image in (HELLO, BIG):
            with pytest.raises(PullError):
                pull_from(image, OTHER_PORT)
        done = imported(empty, archive, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["newBlobs"] == 2
        assert complete(empty) == (True, ALL)
        for image in (HELLO, BIG):
            pull_from(image, OTHER_PORT)
    finally:
        empty.make("down", OTHER)


def test_a_disk_that_fills_is_told(empty, archive):
    """A volume of 20 MB, and an image of 60."""
    small = {"type": "tmpfs", "device": "tmpfs", "o": "size=20m"}
    empty.client.api.create_volume(f"{PREFIX}-{OTHER}-docker.io", driver_opts=small)
    done = imported(empty, archive)
    assert done.returncode == 1
    assert "no space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_imports_at_once_are_both_complete(empty, archive):
    line = ops_line("import", OTHER, str(archive))
    env = empty.shell_env(OTHER)
    both = [subprocess.Popen(line, cwd=empty.path, env=env) for _ in range(2)]
    assert [one.wait(120) for one in both] == [0, 0]
    assert complete(empty) == (True, ALL)


@pytest.mark.parametrize("content", [b"", b"no archive at all"])
def test_what_is_no_archive_is_refused(empty, tmp_path, content):
    file = tmp_path / "no.tar.zst"
    file.write_bytes(content)
    done = imported(empty, file)
    assert done.returncode == 1
    assert "is refused" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_incomplete_or_damaged_image_is_not_exported(up, tmp_path):
    list_ = tmp_path / "images.txt"
    list_.write_text("docker.io/library/never:1")
    target = tmp_path / "no.tar.zst"
    done = ops(up, "export", str(target), "--images", str(list_), "--no-boot-assets")
    assert (done.returncode, "1 images are not complete" in done.stderr) == (1, True)
    damage(up.client, f"{PREFIX}-{STACK}-docker.io", HELLO.blobs[1].digest)
    try:
        done = ops(up, "export", str(target), "--no-boot-assets")
        assert (done.returncode, "is damaged" in done.stderr) == (1, True)
        assert not target.exists()
    finally:
        assert ops(up, "repair").returncode == 0


def test_what_was_only_looked_at_is_left_out_and_all_the_rest_is_carried(
    up, empty, embedded_upstream, tmp_path
):
    """As a tool that looks for updates does it, and a client that looks for signatures."""
    looked_at = images.multi_platform("docker.io", "team/looked-at", "v1", b"never pulled")
    referrers = images.multi_platform("docker.io", "team/big", "v2", b"what belongs to it")
    tag = BIG.manifests[0].digest.replace(":", "-")
    for image in (looked_at, dataclasses.replace(referrers, tag=tag)):
        embedded_upstream.push(image)
        url = f"http://127.0.0.1:{BASE_PORT}/v2/{image.repository}/manifests/{image.tag}"
        accept = {"Accept": "application/vnd.oci.image.index.v1+json"}
        assert requests.head(url, headers=accept, timeout=30).status_code == 200
    nested = nested_index("docker.io", "team/nested", "v1")
    embedded_upstream.push(nested)
    fetch_all(nested, f"http://127.0.0.1:{BASE_PORT}/v2/team/nested")
    told = ops(up, "verify", "--json")
    assert told.returncode == 0, told.stdout
    assert {one["kind"] for one in json.loads(told.stdout)["notCounted"]} == {
        "looked at",
        "attached",
    }
    file = tmp_path / "rest.tar.zst"
    done = ops(up, "export", str(file), "--no-boot-assets", "--json")
    assert done.returncode == 0, done.stderr
    left_out = {looked_at.reference, f"docker.io/team/big:{tag}"}
    assert set(json.loads(done.stdout)["leftOut"]) == left_out
    assert all(f"left out: {reference}: " in done.stderr for reference in left_out)
    assert imported(empty, file).returncode == 0
    assert complete(empty) == (True, ALL | {nested.reference})


def fetch_all(image, url):
    """As nodes do; skopeo does not take an index in an index."""
    names = [image.tag, *(manifest.digest for manifest in image.manifests)]
    for name in names:
        accept = {"Accept": ", ".join({manifest.media_type for manifest in image.manifests})}
        requests.get(f"{url}/manifests/{name}", headers=accept, timeout=30).raise_for_status()
    for blob in image.blobs:
        found = requests.get(f"{url}/blobs/{blob.digest}", timeout=30)
        assert found.content == blob.content


def nested_index(host, repository, tag):
    """An index whose only entry is an index."""
    inner = images.multi_platform(host, repository, tag, b"in an index in an index")
    index = inner.manifests[-1]
    content = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": index.media_type,
            "manifests": [
                {
                    "mediaType": index.media_type,
                    "digest": index.digest,
                    "size": len(index.content),
                }
            ],
        }
    ).encode()
    outer = dataclasses.replace(index, content=content)
    return dataclasses.replace(inner, manifests=(*inner.manifests, outer))


def test_boot_assets_are_carried_too(up, empty, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    asset = "talos-cache/talos-home/.talos/cache/v1.13.0-vmlinuz-amd64"
    (here / asset).parent.mkdir(parents=True)
    (here / asset).write_bytes(b"a kernel")
    list_ = tmp_path / "images.txt"
    list_.write_text(HELLO.reference)
    target = str(tmp_path / "with-assets.tar.zst")
    env = {"XDG_CACHE_HOME": str(here)}
    done = ops(up, "export", target, "--images", str(list_), env=env)
    assert "1 boot assets" in done.stdout, done.stderr
    done = ops(empty, "import", target, stack=OTHER, env={"XDG_CACHE_HOME": str(there)})
    assert done.returncode == 0, done.stderr
    assert (there / asset).read_bytes() == b"a kernel"


def test_the_caches_still_serve(up):
    assert requests.get(f"http://127.0.0.1:{BASE_PORT}/v2/", timeout=10).status_code == 200
    for image in (*IMAGES, BIG):
        pull_from(image, BASE_PORT)
