"""How an archive is written and gone on with; tests/real/offline carries real ones."""

import argparse
import errno
import hashlib
import io
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
import zstandard
from docker.errors import ImageNotFound

from ops.archive import boot_assets, reader
from ops.archive import writer as writing
from ops.archive.writer import ArchiveWriter
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


def partial(path):
    return path.with_name(f"{path.name}.partial")


def write(path, names=tuple(CONTENT), *, key="lock", finish=True):
    """Write what is not there yet; gives the names of the members that were written."""
    writer = ArchiveWriter(path, key=key)
    written = [name for name in names if not writer.has(name)]
    try:
        for name in written:
            writer.add(name, len(CONTENT[name]), [CONTENT[name]])
        if finish:
            writer.finish()
    finally:
        writer.close()
    return written


def members(path):
    stream = zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True)
    with tarfile.open(fileobj=stream, mode="r|") as read:
        return {member.name: read.extractfile(member).read() for member in read}


def test_what_was_written_whole_is_not_written_again(path):
    write(path, ["one", "two"], finish=False)
    before = partial(path).read_bytes()
    with partial(path).open("ab") as file:
        file.write(b"half a member")
    assert write(path) == ["three"]
    assert path.read_bytes().startswith(before)
    assert members(path) == CONTENT
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_what_was_whole_when_it_was_killed_is_there_up_to_the_last_note(path, monkeypatch):
    monkeypatch.setattr(writing, "NOTE_SECONDS", 3600)
    killed = ArchiveWriter(path, key="lock")
    killed.add("one", len(CONTENT["one"]), [CONTENT["one"]])
    killed.add("two", len(CONTENT["two"]), [CONTENT["two"]])
    assert write(path) == ["two", "three"], "a note for every member would take most of the time"
    assert members(path) == CONTENT


def test_a_disk_that_is_too_full_for_a_note_keeps_what_was_noted_before(path, monkeypatch):
    monkeypatch.setattr(writing, "NOTE_SECONDS", 3600)
    writer = ArchiveWriter(path, key="lock")
    for name in ("one", "two"):
        writer.add(name, len(CONTENT[name]), [CONTENT[name]])
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        writer.close()
    assert write(path) == ["two", "three"]
    assert members(path) == CONTENT


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_for_other_images_it_begins_again(path):
    write(path, ["one", "two"], finish=False)
    assert write(path, key="another lock") == list(CONTENT)
    assert members(path) == CONTENT


def test_it_begins_again_where_it_has_to(path):
    write(path, ["one", "two"], finish=False)
    writer = ArchiveWriter(path, key="lock")
    writer.begin_again()
    writer.close()
    assert write(path) == list(CONTENT)
    assert members(path) == CONTENT


class ImageDouble:
    """A double of Docker and of its one image, which it writes differently each time."""

    def __init__(self):
        self.images = self
        self.saved = 0

    def get(self, name):
        assert name == "registry:3"
        return self

    def save(self, *, named):
        self.saved += 1
        yield f"{named}, saved {self.saved} times".encode()


def test_the_lock_has_the_digest_of_the_registry_image_also_after_it_was_broken_off(path):
    docker = ImageDouble()
    lock = Lock(
        platform="linux/amd64",
        registry_image="registry:3",
        registry_digest="",
        images=(),
        boot_assets=(),
    )
    writer = ArchiveWriter(path, key=archive.lock_text(lock))
    export._begin(writer, docker, lock, path.parent)
    # As if it had been killed before the image was whole.
    writer._ends.pop(archive.REGISTRY_IMAGE)
    writer._note()
    writer.close()
    nothing = Volumes(client=None, container="", caches=(), present=())
    export._write(docker, nothing, {}, lock, path)
    found = members(path)
    image = found[archive.REGISTRY_IMAGE]
    assert image == b"registry:3, saved 2 times"
    read = archive.parse_lock(found[archive.LOCK].decode())
    assert read.registry_digest == f"sha256:{hashlib.sha256(image).hexdigest()}"


class NoImageDouble(ImageDouble):
    """A double of a Docker without the image, which takes whatever it is given."""

    loaded = None

    def get(self, name):
        if self.loaded is None:
            raise ImageNotFound(name)

    def load(self, content):
        self.loaded = b"".join(content)


def loaded(folder, docker, content, digest):
    file = folder / "archive.tar"
    with tarfile.open(file, mode="w") as made:
        entry = tarfile.TarInfo(archive.REGISTRY_IMAGE)
        entry.size = len(content)
        made.addfile(entry, io.BytesIO(content))
    lock = Lock(
        platform="linux/amd64",
        registry_image="registry:3",
        registry_digest=digest,
        images=(),
        boot_assets=(),
    )
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


@pytest.mark.parametrize("left", [0, 10])
def test_what_is_shorter_than_was_noted_begins_again(path, left):
    write(path, ["one", "two"], finish=False)
    with partial(path).open("r+b") as file:
        file.truncate(left)
    assert write(path) == list(CONTENT)
    assert members(path) == CONTENT


@pytest.mark.parametrize(
    ("size", "content", "digest"),
    [(3, b"ab", ""), (2, b"abc", ""), (2, b"ab", f"sha256:{'0' * 64}")],
)
def test_a_member_that_is_not_what_it_should_be_is_refused_and_not_kept(
    path, size, content, digest
):
    write(path, ["one"], finish=False)
    writer = ArchiveWriter(path, key="lock")
    with pytest.raises(OpsError, match="sick is damaged"):
        writer.add("sick", size, [content], digest)
    writer.close()
    assert write(path) == ["two", "three"]
    assert members(path) == CONTENT


def test_nobody_else_reads_it(path):
    write(path)
    assert path.stat().st_mode & 0o077 == 0


def exported(file):
    options = argparse.ArgumentParser()
    export.add_arguments(options)
    namespace = options.parse_args([str(file)])
    namespace.stack = "docker"
    return export.run(arguments.read(export.Arguments, namespace))


def test_a_folder_that_is_not_there_is_told_before_docker_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(api, "connect", pytest.fail)
    with pytest.raises(OpsError, match=r"there is no folder .*/nowhere: make it"):
        exported(tmp_path / "nowhere" / "all.tar.zst")


@pytest.mark.parametrize(
    ("error", "raised", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OpsError, r"No space left .* again$"),
        (requests.ConnectionError("aborted"), requests.ConnectionError, "aborted"),
    ],
)
def test_a_full_disk_is_told_and_what_is_whole_is_kept(path, monkeypatch, error, raised, said):
    def add(*_, **__):
        raise error

    lock = Lock(
        platform="linux/amd64",
        registry_image="registry",
        registry_digest="",
        images=(),
        boot_assets=(),
    )
    key = archive.lock_text(lock)
    write(path, ["one"], key=key, finish=False)
    monkeypatch.setattr(archive, "REGISTRY_IMAGE", "one")
    with monkeypatch.context() as patched:
        patched.setattr(ArchiveWriter, "add", add)
        with pytest.raises(raised, match=said):
            export._write(None, None, {}, lock, path)
    assert write(path, key=key) == ["two", "three"]


def imported(file):
    return import_archive.run(
        import_archive.Arguments(stack="docker", file=Path(file), replace_tags=False, as_json=True)
    )


@pytest.fixture
def importing_fails(monkeypatch, tmp_path):
    """Gives what comes of an import in the middle of which this is raised."""
    file = tmp_path / "all.tar.zst"
    file.touch()

    def run(error):
        def fail(*_, **__):
            raise error

        monkeypatch.setattr(import_archive, "_import_archive", fail)
        return imported(file)

    return run


def test_two_imports_at_once_wait_for_each_other(monkeypatch, tmp_path):
    """Each would take away what the other has half staged."""
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
    with pytest.raises(OpsError, match=r"importing .* failed: .*No space left .* again$"):
        importing_fails(full)


def test_a_docker_that_goes_away_is_not_blamed_on_the_archive(importing_fails):
    with pytest.raises(requests.ConnectionError):
        importing_fails(requests.ConnectionError("aborted"))


def test_an_archive_that_is_not_there_is_told(tmp_path):
    with pytest.raises(OpsError, match=r"nowhere\.tar\.zst can't be read: .*No such file"):
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
    monkeypatch.setattr(boot_assets, "root", lambda: tmp_path)
    killed = boot_assets.staging("registry")
    left = killed.__enter__() / "cache" / "vmlinuz"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half of it")
    assert boot_assets.downloaded() == (), "nobody takes it for a download of talosctl's"
    with boot_assets.staging("other"):
        assert left.exists(), "another stack's import may be under way"
    with boot_assets.staging("registry"):
        assert not left.exists()


@pytest.mark.parametrize("noted", ["[]", "{}", "3", "[" * 100_000, "cut sh"])
def test_a_note_that_is_damaged_counts_as_none(path, noted):
    write(path, ["one"], finish=False)
    path.with_name(f"{path.name}.partial.json").write_text(noted)
    assert write(path) == list(CONTENT)
    assert members(path) == CONTENT


def left_out(kind, tag="v1"):
    image = ImageReference(host="docker.io", repository="team/a", tag=tag)
    fault = Fault(part="layer", digest=OF_ABC, size=3, problem=storage.MISSING)
    return Result(image=image, size=3, faults=(fault,), kind=kind)


AMD64 = Platform(os="linux", architecture="amd64")


def test_what_nobody_has_pulled_is_left_out_and_that_is_no_failure(capsys):
    assert export._tell_left_out([left_out(storage.LOOKED_AT)], AMD64) == 0
    assert capsys.readouterr().err == (
        "left out: docker.io/team/a:v1: only its manifest was asked for, never the image\n"
    )
    assert export._tell_left_out([], AMD64) == 0


def test_an_image_that_is_left_out_is_named_and_is_a_failure(capsys):
    assert export._tell_left_out([left_out(storage.IMAGE)], AMD64) == 1
    said = capsys.readouterr().err
    assert "1 images are left out, because they are not complete for linux/amd64" in said
    assert said.splitlines()[-1].strip() == "docker.io/team/a:v1"


def test_without_anything_to_export_it_says_what_to_do():
    with pytest.raises(OpsError, match="the caches hold no image"):
        export._refuse_incomplete([], AMD64)
    with pytest.raises(OpsError, match="1 images are not complete for linux/amd64"):
        export._refuse_incomplete([left_out(storage.IMAGE)], AMD64)
