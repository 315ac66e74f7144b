"""Archives that expand to more than they declare: a few kilobytes would become gigabytes."""

import hashlib
import json
import tarfile
import tracemalloc
from types import SimpleNamespace

import pytest
import zstandard
from docker.errors import ImageNotFound

from ops.archive import reader, talos_layout
from ops.commands import export, import_archive
from ops.docker import api
from ops.errors import OpsError
from plan.images import archive
from plan.images.archive import ArchiveError, Lock

MIB = 1024 * 1024
# Far above what a refusal takes, far below what the bombs below would become.
MOST_MEMORY = 300 * MIB
SPARE = 400 * MIB
OF_NOTHING = f"sha256:{hashlib.sha256(b'').hexdigest()}"
IMAGE = "registry:3.1.1"
LOCK = Lock(
    platform="linux/amd64",
    registry_image=IMAGE,
    registry_digest=OF_NOTHING,
    images=(),
    boot_assets=(),
)


def header(name, size, kind=tarfile.REGTYPE):
    entry = tarfile.TarInfo(name)
    entry.size, entry.type = size, kind
    return entry.tobuf(tarfile.GNU_FORMAT)


def repeated(some, size):
    whole = some * (MIB // len(some))
    for _ in range(size // MIB):
        yield whole
        yield b" " * (MIB - len(whole))


def member(name, content):
    return [header(name, len(content)), content, b"\0" * (-len(content) % 512)]


def bomb(path, *parts):
    with path.open("wb") as file, zstandard.ZstdCompressor(level=3).stream_writer(file) as out:
        for part in parts:
            for some in part:
                out.write(some)
    assert path.stat().st_size < MIB
    return path


LOCK_TEXT = archive.lock_text(LOCK).encode()
WHOLE = [*member(archive.LOCK, LOCK_TEXT), *member(archive.REGISTRY_IMAGE, b"")]
BOMBS = {
    "a lock of spaces": ([header(archive.LOCK, SPARE)], repeated(b" ", SPARE)),
    "a lock of nested lists": (
        [header(archive.LOCK, archive.LOCK_BYTES)],
        repeated(b"[", archive.LOCK_BYTES),
    ),
    "a lock of empty objects": (
        [header(archive.LOCK, archive.LOCK_BYTES), b'{"format":['],
        repeated(b"{},", archive.LOCK_BYTES),
    ),
    "a long name": ([header("././@LongLink", SPARE, b"L")], repeated(b"a", SPARE)),
    "an extended header": ([header("pax", SPARE, b"x")], repeated(b"a", SPARE)),
    "a registry image": (
        member(archive.LOCK, LOCK_TEXT),
        [header(archive.REGISTRY_IMAGE, 2 * archive.REGISTRY_IMAGE_BYTES)],
        repeated(b"\0", MIB),
    ),
    "an index": (
        WHOLE,
        [header(archive.INDEX, SPARE)],
        repeated(b" ", MIB),
    ),
}


def test_what_is_not_read_of_a_member_is_skipped(tmp_path):
    """However large it is: it was allowed. What comes before the next member stays bounded."""
    path = tmp_path / "archive.tar"
    large = b"a" * (3 * MIB)
    parts = [*member("first", large), *member("second", large), *member("third", b"end")]
    path.write_bytes(b"".join(parts))
    with path.open("rb") as file, reader.opened(file) as members:
        for name, size in (("first", 3 * MIB), ("second", 3 * MIB)):
            one = members.next()
            assert (one.name, one.size) == (name, size)
            members.content(one, size)
        last = members.next()
        assert members.content(last, 3).read() == b"end"
        assert members.next() is None
    with path.open("rb") as file, reader.opened(file) as members:
        members.next()  # its content was not requested, so its size was not checked
        with pytest.raises(ArchiveError, match="more data than it declares"):
            members.next()


@pytest.fixture
def no_docker(monkeypatch, tmp_path):
    """A Docker that has the registry's image, and whose volumes are not opened."""
    images = SimpleNamespace(get=lambda name: name)
    monkeypatch.setattr(api, "connect", lambda: SimpleNamespace(images=images))
    monkeypatch.setattr(import_archive, "opened", lambda *_, **__: NoVolumes())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


class NoVolumes:
    """Volumes of no cache."""

    present = ()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def stores(self):
        return {}

    def run(self, *_):
        return b""

    def link(self, links):
        assert not links


def imported(path):
    return import_archive.run(
        import_archive.Arguments(stack="docker", file=path, replace_tags=False, as_json=True)
    )


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_and_takes_little_memory(no_docker, tmp_path, name):
    file = bomb(tmp_path / "bomb.tar.zst", *BOMBS[name])
    tracemalloc.start()
    try:
        with pytest.raises(OpsError, match="is refused"):
            imported(file)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < MOST_MEMORY


def test_the_largest_registry_image_is_never_spooled_where_docker_has_it(
    no_docker, tmp_path, monkeypatch
):
    monkeypatch.setattr(import_archive.tempfile, "TemporaryFile", pytest.fail)
    assert imported(bomb(tmp_path / "all.tar.zst", WHOLE, [b"\0" * 1024])) == 0


def test_a_registry_image_that_docker_does_not_have_is_bounded(no_docker, tmp_path, monkeypatch):
    def get(name):
        raise ImageNotFound(name)

    docker = SimpleNamespace(images=SimpleNamespace(get=get))
    monkeypatch.setattr(api, "connect", lambda: docker)
    monkeypatch.setattr(import_archive.tempfile, "TemporaryFile", pytest.fail)
    with pytest.raises(OpsError, match=rf"at most {archive.REGISTRY_IMAGE_BYTES} "):
        imported(bomb(tmp_path / "bomb.tar.zst", *BOMBS["a registry image"]))


def test_a_file_that_comes_twice_is_refused(no_docker, tmp_path):
    parts = (WHOLE, *(member(archive.LAYOUT, b"{}") for _ in range(2)))
    with pytest.raises(OpsError, match=f"twice: {archive.LAYOUT}"):
        imported(bomb(tmp_path / "all.tar.zst", *parts))


def test_an_archive_that_needs_a_large_window_is_refused(no_docker, tmp_path):
    """zstd would keep that much unpacked data."""
    settings = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    file = tmp_path / "all.tar.zst"
    with (
        file.open("wb") as raw,
        zstandard.ZstdCompressor(compression_params=settings).stream_writer(raw) as out,
    ):
        for some in [*WHOLE, b"\0" * 1024]:
            out.write(some)
    with pytest.raises(OpsError, match="too much memory"):
        imported(file)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE]
)
def test_what_is_not_a_regular_file_is_refused(no_docker, tmp_path, kind):
    parts = (WHOLE, [header(archive.LAYOUT, 0, kind), b"\0" * 1024])
    with pytest.raises(OpsError, match=f"{archive.LAYOUT} in it is not a regular file"):
        imported(bomb(tmp_path / "all.tar.zst", *parts))


def test_as_many_members_as_there_are_take_no_memory(tmp_path):
    count = 4_000
    parts = (some for number in range(count) for some in member(f"blob/{number % 10}", b""))
    file = bomb(tmp_path / "many.tar.zst", parts, [b"\0" * 1024])
    tracemalloc.start()
    try:
        with file.open("rb") as opened_file, reader.opened(opened_file) as members:
            found = 0
            while members.next() is not None:
                found += 1
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == count
    assert most < MIB, "each of them would have taken more than a kilobyte"


@pytest.fixture
def oci_of(tmp_path, monkeypatch):
    """Makes an OCI layout of talosctl's whose layer has these parts."""

    def make(*parts):
        layout = tmp_path / "oci"
        blobs = layout / "blobs" / "sha256"
        blobs.mkdir(parents=True)

        def put(file):
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            file.rename(blobs / digest)
            return {"digest": f"sha256:{digest}"}

        layer = put(bomb(layout / "layer", *parts))
        manifest = layout / "manifest"
        manifest.write_text(json.dumps({"layers": [layer]}))
        (layout / "index.json").write_text(json.dumps({"manifests": [put(manifest)]}))
        return layout

    return make


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([header("././@LongLink", SPARE, b"L"), *repeated(b"a", SPARE)], "more data than it"),
        (
            [
                header("././@LongLink", 4096, b"L"),
                b"manifests/" + b"a" * 4086,
                header("manifests/", 0),
            ],
            "too long: manifests/a",
        ),
        (
            (
                some
                for number in range(20)
                for some in member(f"manifests/docker.io/a/reference/{number}", b" " * 4 * MIB)
            ),
            f"more than {archive.ALL_MANIFESTS_BYTES} bytes",
        ),
        (member("manifests/docker.io/a/reference/1", b" " * 5 * MIB), "too large for a manifest"),
        (member("manifests/docker.io/a/reference/1", b"[" * MIB), "it is nested too deeply"),
    ],
    ids=["long-name", "name", "manifests", "manifest", "nested"],
)
def test_a_layer_of_talosctl_s_that_is_a_bomb_is_refused(oci_of, parts, said):
    folder = oci_of(parts, [b"\0" * 1024])
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError, match=said):
            talos_layout.images(talos_layout.reader(folder)())
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < MOST_MEMORY


def test_a_layer_of_talosctl_s_with_too_many_files_is_refused(oci_of, monkeypatch):
    monkeypatch.setattr(talos_layout, "MOST_FILES", 100)
    folder = oci_of(some for _ in range(101) for some in member("blob", b""))
    with pytest.raises(ArchiveError, match="more than 100 files"):
        talos_layout.images(talos_layout.reader(folder)())


@pytest.mark.parametrize("text", ["[" * 100_000, " " * 5 * MIB])
def test_an_index_of_talosctl_s_is_bounded(tmp_path, text):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(ArchiveError):
        talos_layout.reader(tmp_path)


def test_what_import_would_not_take_is_not_exported(monkeypatch):
    monkeypatch.setattr(archive, "LOCK_BYTES", 100)
    with pytest.raises(OpsError, match=r"^0 images "):
        export._refuse_too_large(LOCK)
