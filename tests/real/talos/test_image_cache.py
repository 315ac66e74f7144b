"""The layouts of `talosctl image cache-create`, with the real talosctl on either side.

It fills its folders from a registry on loopback, which is the only one that it reaches here.
"""

import json
import shutil
import subprocess
import tarfile
from contextlib import contextmanager

import pytest

from demo import images
from demo.client import pull
from ops.registry.ping import wait_for_answer
from tests.checkout import ops_line
from tests.real.caches.conftest import (
    IMAGES,
    PREFIX,
    UPSTREAM_PORT,
    checkout,
    embedded,
    embedded_upstream,
)
from tests.real.caches.containerd import ctr, hosts_dir, running
from toolchain import talosctl as builds

__all__ = ["checkout", "embedded_upstream"]

STACK = "image-cache"
BASE_PORT = 15410
LOOPBACK = f"127.0.0.1:{UPSTREAM_PORT}"
LOOPBACK_PORT = BASE_PORT + 10
HOSTS = ("docker.io", "registry.k8s.io", "ghcr.io")
SERVE_PORT = 15430
TALOSCTL_SECONDS = 120
HELLO = images.single(LOOPBACK, "library/hello", "1", b"hello\n" * 1000)
TWO_PLATFORMS = images.multi_platform(LOOPBACK, "two-platforms", "v1", b"for each platform")
# As cosign names it: a manifest of its own, under a tag made of the digest.
SIGNATURE = images.artifact(
    LOOPBACK, "library/hello", f"{HELLO.digest.replace(':', '-')}.sig", b"a signature\n"
)


@pytest.fixture(scope="module")
def up(checkout, embedded_upstream):
    upstreams = embedded(embedded_upstream, HOSTS)
    upstreams[LOOPBACK] = {"remoteUrl": embedded_upstream.url, "port": LOOPBACK_PORT}
    checkout.write_stack(
        STACK,
        prefix=f"{PREFIX}-{STACK}",
        basePort=BASE_PORT,
        upstreams=upstreams,
        cache={"onDestroy": "delete"},
    )
    for image in (HELLO, TWO_PLATFORMS, SIGNATURE):
        embedded_upstream.push(image)
    checkout.make("up", STACK)
    return checkout


@pytest.fixture
def empty(up):
    """The cache of the registry on loopback, with nothing in it."""
    name = f"{PREFIX}-{STACK}-127.0.0.1-{UPSTREAM_PORT}"
    volume = up.client.api.inspect_volume(name)["Mountpoint"]
    up.client.api.stop(name, timeout=1)
    shutil.rmtree(f"{volume}/docker", ignore_errors=True)
    up.client.api.start(name)
    assert not wait_for_answer(f"http://127.0.0.1:{LOOPBACK_PORT}", 30)
    return up


def created(folder, layout, platform):
    """What the real talosctl makes of the images on loopback."""
    path = folder / f"{layout}-of-talosctl"
    references = f"{HELLO.reference},{TWO_PLATFORMS.reference}"
    run(
        *(str(builds.ensure("1.13.0")), "image", "cache-create", "--layout", layout),
        *("--platform", platform, "--images", references, "--image-cache-path", str(path)),
    )
    return path


def run(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=TALOSCTL_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr


def ops(checkout, command, *arguments):
    done = checkout.run(*ops_line(command, STACK, *arguments), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def complete(checkout):
    report = json.loads(ops(checkout, "verify", "--deep", "--json"))
    return {one["image"] for one in report["images"]}


def tree(path):
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file()
    }


@pytest.mark.parametrize("layout", ["flat", "oci"])
@pytest.mark.parametrize("platform", ["linux/amd64", "all"])
def test_what_talosctl_has_made_is_imported_and_served(
    empty, embedded_upstream, layout, platform, tmp_path
):
    path = created(tmp_path, layout, platform)
    embedded_upstream.stop()
    try:
        report = json.loads(ops(empty, "import", str(path), "--json"))
        assert report["images"] == 3, "the signature comes along"
        references = {one.reference for one in (HELLO, TWO_PLATFORMS, SIGNATURE)}
        assert references <= complete(empty)
        served = f"http://127.0.0.1:{LOOPBACK_PORT}"
        pull(served, HELLO, by_digest=False)
        if platform == "all":
            pull(served, TWO_PLATFORMS, by_digest=False)
    finally:
        embedded_upstream.plug_in()
    again = json.loads(ops(empty, "import", str(path), "--json"))
    assert again["newBlobs"] == 0


def test_a_file_that_was_changed_is_refused_and_nothing_is_to_be_seen(empty, tmp_path):
    path = created(tmp_path, "flat", "linux/amd64")
    blob = path / "blob" / HELLO.blobs[1].digest.replace(":", "-")
    blob.write_bytes(b"X" + blob.read_bytes()[1:])
    done = empty.run(*ops_line("import", STACK, str(path)), check=False)
    assert done.returncode == 1
    assert "a file in it was changed" in done.stderr
    assert not {name for name in complete_or_not(empty) if name.startswith(LOOPBACK)}


def complete_or_not(checkout):
    done = checkout.run(*ops_line("verify", STACK, "--json"), check=False)
    return {one["image"] for one in json.loads(done.stdout)["images"]}


def test_export_writes_what_talosctl_writes(empty, tmp_path):
    """The same files with the same content; the tar archive of them has other headers."""
    flat = created(tmp_path, "flat", "linux/amd64")
    oci = created(tmp_path, "oci", "linux/amd64")
    ops(empty, "import", str(flat))
    list_ = tmp_path / "images.txt"
    list_.write_text("\n".join(one.reference for one in (HELLO, TWO_PLATFORMS, SIGNATURE)))
    for layout in ("talos-flat", "talos-oci"):
        target = str(tmp_path / layout)
        ops(empty, "export", target, "--layout", layout, "--images", str(list_))
    assert tree(tmp_path / "talos-flat") == tree(flat)
    assert unpacked(tmp_path / "talos-oci", tmp_path / "ours") == tree(flat)
    assert unpacked(oci, tmp_path / "theirs") == tree(flat)


def unpacked(layout, folder):
    """The files of the layer, as a tool that knows OCI images finds it."""
    run("skopeo", "--insecure-policy", "copy", f"oci:{layout}", f"dir:{folder}")
    (layer,) = json.loads((folder / "manifest.json").read_text())["layers"]
    with tarfile.open(folder / layer["digest"].removeprefix("sha256:")) as members:
        names = [member for member in members if member.isfile()]
        return {member.name: members.extractfile(member).read() for member in names}


def test_talosctl_serves_what_was_exported_to_containerd(up, tmp_path):
    for image in IMAGES:
        port = {"docker.io": 0, "registry.k8s.io": 1, "ghcr.io": 4}[image.host]
        pull(f"http://127.0.0.1:{BASE_PORT + port}", image, by_digest=False)
    list_ = tmp_path / "images.txt"
    list_.write_text("\n".join(image.reference for image in IMAGES))
    target = tmp_path / "exported"
    ops(up, "export", str(target), "--layout", "talos-flat", "--images", str(list_))
    hosts = hosts_dir(
        tmp_path / "hosts", [(h, f"http://127.0.0.1:{SERVE_PORT}", False) for h in HOSTS]
    )
    with serving(target, tmp_path), running(tmp_path) as address:
        for image in IMAGES:
            fetch = ("content", "fetch", "--platform", "linux/amd64", "--hosts-dir", hosts)
            ctr(address, *fetch, image.reference)
        # containerd takes nothing in that does not have its digest.
        held = set(ctr(address, "content", "ls", "--quiet").stdout.split())
    for image in IMAGES:
        assert {image.digest, *(blob.digest for blob in image.blobs[:2])} <= held


@contextmanager
def serving(path, folder):
    """`talosctl image cache-serve`, which writes a patch into the folder that it runs in."""
    argv = [str(builds.ensure("1.13.0")), "image", "cache-serve", "--image-cache-path", str(path)]
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [*argv, "--address", f"127.0.0.1:{SERVE_PORT}"], cwd=folder, stdout=log, stderr=log
        )
        try:
            assert not wait_for_answer(f"http://127.0.0.1:{SERVE_PORT}", 30), (
                folder / "serve.log"
            ).read_text()
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)
