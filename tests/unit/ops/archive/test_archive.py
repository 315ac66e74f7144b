"""How an archive is written, whole or not at all; tests/real/offline carries real ones."""

import argparse
import errno
import hashlib
import io
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import requests
import zstandard
from docker.errors import APIError, ImageLoadError, ImageNotFound

from ops.archive import boot_assets, reader
from ops.archive.writer import ArchiveWriter, new_archive
from ops.commands import arguments, export, import_archive
from ops.docker import api
from ops.docker.volumes import Volumes
from ops.errors import OpsError
from plan.images import archive, storage
from plan.images.archive import ArchiveError, BootAsset, Lock
from plan.images.completeness import Result
from plan.images.reference import ImageReference, Platform
from plan.images.storage import Fault

OF_ABC = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
CONTENT = {"one": b"1" * 1000, "two": b"2" * 513, "three": b""}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "all.tar.zst"


LOCK = Lock(
    platform="linux/amd64",
    registry_image="registry:3",
    registry_digest="",
    images=(),
    boot_assets=(),
)


def write(path):
    with new_archive(path) as writer:
        for name, content in CONTENT.items():
            writer.add(name, len(content), [content])
            assert not path.exists(), "not before all of it is there"


def members(path):
    stream = zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True)
    with tarfile.open(fileobj=stream, mode="r|") as read:
        return {member.name: read.extractfile(member).read() for member in read}


def test_an_archive_gets_its_name_when_it_is_complete(path):
    write(path)
    assert members(path) == CONTENT
    assert list(path.parent.iterdir()) == [path]


def test_an_archive_of_an_earlier_version_is_read(path):
    """It has a zstd frame for each member."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as plain:
        entry = tarfile.TarInfo("one")
        entry.size = len(CONTENT["one"])
        plain.addfile(entry, io.BytesIO(CONTENT["one"]))
    halves = made.getvalue()[:700], made.getvalue()[700:]
    path.write_bytes(b"".join(map(zstandard.compress, halves)))
    with path.open("rb") as file, reader.opened(file) as read:
        assert read.content(read.next(), 1000).read() == CONTENT["one"]


def test_what_a_killed_export_has_left_is_replaced(path):
    path.with_name(f"{path.name}.partial").write_bytes(b"half an archive" * 10_000)
    write(path)
    assert members(path) == CONTENT
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OpsError("Docker went away"), OSError(errno.ENOSPC, "full")]
)
def test_a_failure_or_an_interrupt_leaves_nothing(path, error):
    def content():
        yield CONTENT["one"]
        raise error

    with pytest.raises(type(error)), new_archive(path) as writer:
        writer.add("one", len(CONTENT["one"]), content())
    assert list(path.parent.iterdir()) == []


class ImageDouble:
    """A double of Docker and of its one image."""

    def __init__(self):
        self.images = self

    def get(self, name):
        assert name == "registry:3"
        return self

    def save(self, *, named):
        yield f"{named}, saved".encode()


def test_the_lock_comes_first_and_has_the_digest_of_the_registry_image(path):
    nothing = Volumes(client=None, container="", caches=(), present=())
    export._write(ImageDouble(), nothing, {}, LOCK, path)
    written = members(path)
    assert list(written)[:2] == [archive.LOCK, archive.REGISTRY_IMAGE]
    image = written[archive.REGISTRY_IMAGE]
    assert image == b"registry:3, saved"
    read = archive.parse_lock(written[archive.LOCK].decode())
    assert read.registry_digest == f"sha256:{hashlib.sha256(image).hexdigest()}"


class NoImageDouble(ImageDouble):
    """A double of a Docker without the image, which loads anything, or fails with `error`."""

    loaded = None
    error = None

    def get(self, name):
        if self.loaded is None:
            raise ImageNotFound(name)

    def load(self, content):
        if self.error:
            raise self.error
        self.loaded = b"".join(content)


def loaded(folder, docker, content, digest):
    file = folder / "archive.tar"
    with tarfile.open(file, mode="w") as made:
        entry = tarfile.TarInfo(archive.REGISTRY_IMAGE)
        entry.size = len(content)
        made.addfile(entry, io.BytesIO(content))
    lock = replace(LOCK, registry_digest=digest)
    with file.open("rb") as opened_file, reader.opened(opened_file) as members:
        import_archive._load(members, docker, "registry:3", lock)
    return docker.loaded


def test_the_registry_image_is_loaded_when_it_is_the_one_of_the_lock(tmp_path):
    assert loaded(tmp_path, NoImageDouble(), b"abc", OF_ABC) == b"abc"


def test_a_registry_image_that_was_changed_is_not_given_to_docker(tmp_path):
    docker = NoImageDouble()
    with pytest.raises(ArchiveError, match="a file in it was changed"):
        loaded(tmp_path, docker, b"abX", OF_ABC)
    assert docker.loaded is None


@pytest.mark.parametrize("error", [APIError("500"), ImageLoadError("500")])
def test_an_image_that_docker_can_not_load_is_blamed_on_the_archive(tmp_path, error):
    docker = NoImageDouble()
    docker.error = error
    with pytest.raises(ArchiveError, match="500"):
        loaded(tmp_path, docker, b"abc", OF_ABC)


@pytest.mark.parametrize(
    ("size", "content", "digest"),
    [(3, b"ab", ""), (2, b"abc", ""), (2, b"ab", f"sha256:{'0' * 64}")],
)
def test_a_member_that_is_not_what_it_should_be_is_refused(path, size, content, digest):
    with pytest.raises(OpsError, match="layer is damaged"), new_archive(path) as writer:
        writer.add("layer", size, [content], digest)
    assert not path.exists()


def test_other_users_can_not_read_it(path):
    write(path)
    assert path.stat().st_mode & 0o077 == 0


def exported(file):
    options = argparse.ArgumentParser()
    export.add_arguments(options)
    namespace = options.parse_args([str(file)])
    namespace.stack = "docker"
    return export.run(arguments.read(export.Arguments, namespace))


def test_a_missing_folder_is_reported_before_docker_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(api, "connect", pytest.fail)
    with pytest.raises(OpsError, match=r"there is no folder .*/nowhere: create it"):
        exported(tmp_path / "nowhere" / "all.tar.zst")


@pytest.mark.parametrize(
    ("error", "raised", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OpsError, r"No space left .* again$"),
        (requests.ConnectionError("aborted"), requests.ConnectionError, "aborted"),
    ],
)
def test_a_full_disk_is_told_and_a_docker_that_goes_away(path, monkeypatch, error, raised, said):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(ArchiveWriter, "add", fail)
    with pytest.raises(raised, match=said):
        export._write(ImageDouble(), None, {}, LOCK, path)
    assert list(path.parent.iterdir()) == []


def imported(file):
    return import_archive.run(
        import_archive.Arguments(stack="docker", file=Path(file), replace_tags=False, as_json=True)
    )


@pytest.fixture
def importing_fails(monkeypatch, tmp_path):
    """Runs an import in the middle of which this error is raised."""
    file = tmp_path / "all.tar.zst"
    file.touch()

    def run(error):
        def fail(*_, **__):
            raise error

        monkeypatch.setattr(import_archive, "_import_archive", fail)
        return imported(file)

    return run


def test_two_imports_at_once_wait_for_each_other(monkeypatch, tmp_path):
    """Each would remove the other's staged files."""
    file = tmp_path / "all.tar.zst"
    file.touch()
    inside, most = 0, 0

    def count(*_, **__):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.2)
        inside -= 1
        return {"images": 0, "newBlobs": 0, "bootAssets": 0}

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(import_archive, "_import_archive", count)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(imported, [file, file])) == [0, 0]
    assert most == 1


def test_a_full_disk_is_not_blamed_on_the_archive(importing_fails):
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OpsError, match=r"^importing .*No space left"):
        importing_fails(full)


def test_a_docker_that_stops_answering_is_not_blamed_on_the_archive(importing_fails):
    with pytest.raises(requests.ConnectionError):
        importing_fails(requests.ConnectionError("aborted"))


def test_a_missing_archive_is_reported(tmp_path):
    with pytest.raises(OpsError, match=r"nowhere\.tar\.zst can't be read"):
        imported(tmp_path / "nowhere.tar.zst")


def test_boot_assets_are_those_of_talosctl_hashed(tmp_path, monkeypatch):
    monkeypatch.setattr(boot_assets, "root", lambda: tmp_path)
    for name in ("cache/v1.13.0/vmlinuz", "cni/bridge", "clusters/mine/state"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"abc")
    (tmp_path / "cni" / "bridge").chmod(0o755)
    (tmp_path / "cache" / "latest").symlink_to("v1.13.0/vmlinuz")
    found = boot_assets.downloaded()
    assert [(asset.path, asset.size, asset.executable) for asset in found] == [
        ("cache/v1.13.0/vmlinuz", 3, False),
        ("cni/bridge", 3, True),
    ]
    assert {asset.digest for asset in found} == {OF_ABC}


@pytest.mark.parametrize(("executable", "mode"), [(True, 0o755), (False, 0o644)])
def test_a_boot_asset_is_put_where_talosctl_can_run_it(tmp_path, monkeypatch, executable, mode):
    monkeypatch.setattr(boot_assets, "root", lambda: tmp_path)
    asset = BootAsset(path="cni/bin/bridge", digest=OF_ABC, size=3, executable=executable)
    with boot_assets.staging("registry") as staged:
        boot_assets.take(asset, io.BytesIO(b"abc"), staged)
        assert not (tmp_path / "cni").exists(), "not before everything has come"
        boot_assets.place([asset], staged)
    assert [one.name for one in tmp_path.iterdir()] == ["cni"]
    [file] = (tmp_path / "cni" / "bin").iterdir()
    assert (file.name, file.read_bytes(), file.stat().st_mode & 0o777) == ("bridge", b"abc", mode)


def test_a_boot_asset_that_was_changed_leaves_the_one_that_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(boot_assets, "root", lambda: tmp_path)
    there = tmp_path / "cache" / "vmlinuz"
    there.parent.mkdir()
    there.write_bytes(b"of before")
    asset = BootAsset(path="cache/vmlinuz", digest=OF_ABC, size=3, executable=False)
    with (
        pytest.raises(ArchiveError, match="a file in it was changed"),
        boot_assets.staging("registry") as staged,
    ):
        boot_assets.take(asset, io.BytesIO(b"abX"), staged)
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == [there]
    assert there.read_bytes() == b"of before"


def test_boot_assets_that_a_killed_import_has_staged_go_with_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(boot_assets, "root", lambda: tmp_path)
    killed = boot_assets.staging("registry")
    left = killed.__enter__() / "cache" / "vmlinuz"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half of it")
    assert boot_assets.downloaded() == (), "it is not a download of talosctl's"
    with boot_assets.staging("other"):
        assert left.exists(), "another stack's import may be under way"
    with boot_assets.staging("registry"):
        assert not left.exists()


def left_out(kind, tag="v1"):
    image = ImageReference(host="docker.io", repository="team/a", tag=tag)
    fault = Fault(part="layer", digest=OF_ABC, size=3, problem=storage.MISSING)
    return Result(image=image, size=3, faults=(fault,), kind=kind)


AMD64 = Platform(os="linux", architecture="amd64")


def test_what_was_never_pulled_is_left_out_and_that_is_not_a_failure(capsys):
    assert export._tell_left_out([left_out(storage.LOOKED_AT)], AMD64) == 0
    assert "docker.io/team/a:v1: only its manifest" in capsys.readouterr().err
    assert export._tell_left_out([], AMD64) == 0


def test_an_image_that_is_left_out_is_named_and_is_a_failure(capsys):
    assert export._tell_left_out([left_out(storage.IMAGE)], AMD64) == 1
    said = capsys.readouterr().err
    assert "linux/amd64" in said
    assert said.splitlines()[-1].strip() == "docker.io/team/a:v1"


def test_without_a_complete_image_export_is_refused():
    with pytest.raises(OpsError, match="warm"):
        export._refuse_incomplete([], AMD64)
    with pytest.raises(OpsError, match=r"linux/amd64[\s\S]*docker\.io/team/a:v1"):
        export._refuse_incomplete([left_out(storage.IMAGE)], AMD64)
