"""Folders as talosctl creates them, written and read; tests/real/talos has talosctl's own."""

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
    """A source of these, one after the other."""
    return lambda digests: ([contents[digest]] for digest in digests)


def flat(path, given=source):
    talos_layout.write_flat(path, [LOCKED], given)
    return path


def oci(path, given=source):
    talos_layout.write_oci(path, [LOCKED], AMD64, given)
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
    """Its blobs are skipped when only the images are listed."""
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


def broken_off(digests):
    yield from source(digests[:1])
    raise KeyboardInterrupt


@pytest.mark.parametrize("write", [flat, oci])
def test_an_interrupt_leaves_nothing(write, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "made", broken_off)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [flat, oci])
@pytest.mark.parametrize(
    "content", [b"X", b"X" + LAYER.content[1:], LAYER.content + b"X"], ids=["short", "same", "long"]
)
def test_a_damaged_blob_is_not_exported(write, content, tmp_path):
    sick = of({**CONTENTS, LAYER.digest: content})
    with pytest.raises(OpsError, match=r"the layer sha256:\w+ is damaged"):
        write(tmp_path / "made", sick)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [flat, oci])
def test_what_a_killed_export_has_left_is_no_part_of_it(write, tmp_path):
    left = tmp_path / "made.partial" / "manifests" / "docker.io" / "library" / "hello" / "left"
    left.parent.mkdir(parents=True)
    left.write_text("of another image")
    assert files(write(tmp_path / "made")) == files(write(tmp_path / "other"))
    assert {one.name for one in tmp_path.iterdir()} == {"made", "other"}


def refused(path):
    with pytest.raises(ArchiveError) as caught:
        read(path)
    return str(caught.value)


def test_a_folder_of_another_kind_is_refused(tmp_path):
    assert "neither manifests nor index.json" in refused(tmp_path)


def test_an_oci_layout_that_has_images_themselves_is_refused(tmp_path):
    (tmp_path / "index.json").write_text(json.dumps({"manifests": []}))
    assert "one image with one layer" in refused(tmp_path)
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


def test_what_lies_beside_the_two_folders_does_not_matter(tmp_path):
    path = flat(tmp_path / "flat")
    (path / "lost+found").mkdir()
    (path / "lost+found" / "1").write_text("x")
    assert read(path) == (LOCKED,)
