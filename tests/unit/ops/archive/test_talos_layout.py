"""Folders as talosctl makes them, written and read; tests/real/talos has talosctl's own."""

import dataclasses
import hashlib
import json
import random

import pytest

from demo import images
from ops.archive import talos_layout
from ops.errors import OpsError
from plan.images.archive import ArchiveError, LockedImage
from plan.images.reference import ImageReference, Platform
from plan.images.storage import Part

AMD64 = Platform(os="linux", architecture="amd64")
MADE = images.single("docker.io", "library/hello", "1", b"hello\n" * 1000)
CONTENTS = {one.digest: one.content for one in (*MADE.manifests, *MADE.blobs)}
LOCKED = LockedImage(
    image=ImageReference(host="docker.io", repository="library/hello", tag="1"),
    media_type=images.MANIFEST,
    parts=tuple(
        Part(part=kind, digest=one.digest, size=len(one.content))
        for kind, one in zip(
            ("manifest", "config", "layer"), (*MADE.manifests, *MADE.blobs), strict=True
        )
    ),
)
LAYER = MADE.blobs[1]


def source(digests):
    for content in map(CONTENTS.get, digests):
        yield [content[:7], content[7:]]


def of(contents):
    """What gives these, one after the other."""
    return lambda digests: ([contents[digest]] for digest in digests)


def flat(path):
    talos_layout.write_flat(path, [LOCKED], source)
    return path


def oci(path):
    talos_layout.write_oci(path, [LOCKED], AMD64, source)
    return path


def read(path):
    return talos_layout.images(talos_layout.reader(path)())


def files(path):
    return {name: content.read() for name, _, content in talos_layout.reader(path)()}


@pytest.mark.parametrize("write", [flat, oci])
def test_what_was_written_is_read(write, tmp_path):
    path = write(tmp_path / "made")
    assert read(path) == (LOCKED,)
    assert {
        f"sha256:{hashlib.sha256(content).hexdigest()}" for content in files(path).values()
    } == set(CONTENTS)
    assert [one.name for one in tmp_path.iterdir()] == ["made"]


def test_a_layer_of_the_size_that_layers_have(tmp_path):
    """Its blobs are passed over when only the images are listed."""
    noise = random.Random(1).randbytes(300_000)
    made = images.single("docker.io", "library/large", "1", noise)
    contents = {one.digest: one.content for one in (*made.manifests, *made.blobs)}
    locked = dataclasses.replace(
        LOCKED,
        image=ImageReference(host="docker.io", repository="library/large", tag="1"),
        parts=tuple(
            Part(part=part.part, digest=digest, size=len(content))
            for part, (digest, content) in zip(LOCKED.parts, contents.items(), strict=True)
        ),
    )
    path = tmp_path / "made"
    talos_layout.write_oci(path, [locked], AMD64, of(contents))
    assert read(path) == (locked,)


def test_both_have_the_same_files(tmp_path):
    assert files(flat(tmp_path / "flat")) == files(oci(tmp_path / "oci"))


def test_the_layout_says_its_platform_and_holds_one_layer(tmp_path):
    path = oci(tmp_path / "oci")
    (entry,) = json.loads((path / "index.json").read_text())["manifests"]
    assert entry["platform"] == {"architecture": "amd64", "os": "linux"}
    assert len(list((path / "blobs" / "sha256").iterdir())) == 3, "manifest, config, layer"
    arm = Platform(os="linux", architecture="arm", variant="v7")
    talos_layout.write_oci(tmp_path / "arm", [LOCKED], arm, source)
    (entry,) = json.loads((tmp_path / "arm" / "index.json").read_text())["manifests"]
    assert entry["platform"] == {"architecture": "arm", "os": "linux", "variant": "v7"}


@pytest.mark.parametrize("write", [talos_layout.write_flat, talos_layout.write_oci])
@pytest.mark.parametrize(
    "content", [b"X", b"X" + LAYER.content[1:], LAYER.content + b"X"], ids=["short", "same", "long"]
)
def test_a_damaged_blob_is_not_exported(write, content, tmp_path):
    sick = of({**CONTENTS, LAYER.digest: content})
    more = (AMD64,) if write is talos_layout.write_oci else ()
    with pytest.raises(OpsError, match=r"the layer sha256:\w+ is damaged"):
        write(tmp_path / "made", [LOCKED], *more, sick)
    assert not (tmp_path / "made").exists()


def test_a_flat_folder_that_was_broken_off_is_gone_on_with(tmp_path):
    asked = []

    def until_the_layer(digests):
        for digest, content in zip(digests, source(digests), strict=True):
            asked.append(digest)
            if digest == LAYER.digest and asked.count(digest) == 1:
                raise OpsError("Docker went away")
            yield content

    with pytest.raises(OpsError, match="went away"):
        talos_layout.write_flat(tmp_path / "made", [LOCKED], until_the_layer)
    before = list(asked)
    talos_layout.write_flat(tmp_path / "made", [LOCKED], until_the_layer)
    again = asked[len(before) :]
    assert read(tmp_path / "made") == (LOCKED,)
    assert not set(again) & set(before) - {LAYER.digest}, "what is whole is not asked for again"


def test_what_a_run_with_other_images_has_left_is_no_part_of_it(tmp_path):
    folder = tmp_path / "made.partial" / "manifests" / "docker.io" / "library" / "hello"
    for name in ("reference/1", "reference/2", f"digest/sha256-{'0' * 64}"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("of another image")
    assert files(flat(tmp_path / "made")) == files(flat(tmp_path / "anew"))


def refused(path):
    with pytest.raises(ArchiveError) as caught:
        read(path)
    return str(caught.value)


def test_a_folder_of_another_kind_is_refused(tmp_path):
    assert "neither layout of talosctl image cache-create" in refused(tmp_path)


def test_an_oci_layout_that_holds_images_themselves_is_refused(tmp_path):
    (tmp_path / "index.json").write_text(json.dumps({"manifests": []}))
    assert "that has one image with one layer" in refused(tmp_path)
    (tmp_path / "index.json").write_text(json.dumps({"manifests": [{"digest": "sha256:../../x"}]}))
    assert "it does not have sha256:../../x" in refused(tmp_path)


@pytest.mark.parametrize("part", ["manifest", "layer"])
def test_an_oci_layout_that_was_changed_is_refused(part, tmp_path):
    path = oci(tmp_path / "oci")
    (entry,) = json.loads((path / "index.json").read_text())["manifests"]
    file = path / "blobs" / "sha256" / entry["digest"].removeprefix("sha256:")
    if part == "layer":
        (layer,) = json.loads(file.read_text())["layers"]
        file = file.with_name(layer["digest"].removeprefix("sha256:"))
    file.write_bytes(file.read_bytes() + b" ")
    assert "a file in it was changed" in refused(path)


def test_a_file_that_is_too_large_for_a_manifest_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(talos_layout, "MANIFEST_BYTES", 10)
    assert "too large for a manifest" in refused(flat(tmp_path / "flat"))


def test_what_lies_beside_the_two_folders_does_not_matter(tmp_path):
    path = flat(tmp_path / "flat")
    (path / "lost+found").mkdir()
    (path / "lost+found" / "1").write_text("x")
    assert read(path) == (LOCKED,)
