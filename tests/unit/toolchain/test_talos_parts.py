"""The parts of the test clusters, as far as they need nothing but files."""

import gzip
import hashlib
import tarfile

import pytest

from host.errors import SetupError
from host.locks import made_once
from tests.real.talos.parts import binaries, cluster, images


@pytest.fixture
def talos_copy(tmp_path, monkeypatch):
    """A module that pins a Talos whose source the test writes."""
    source, module, work = (tmp_path / name for name in ("source", "machined-1.0.0", "work"))
    (source / binaries.OOM_SOURCE).parent.mkdir(parents=True)
    module.mkdir()
    work.mkdir()
    (module / "go.mod").write_text("module m\n")
    (module / "go.sum").write_text("a sum\n")
    monkeypatch.setattr(binaries, "talos_source", {"1.0.0": source}.__getitem__)
    return source / binaries.OOM_SOURCE, module, work


def test_the_patch_changes_one_condition_in_a_copy(talos_copy):
    source, module, work = talos_copy
    text = f"before\n\t{binaries.OOM_CONDITION}\nafter\n"
    source.write_text(text)
    source.chmod(0o444)
    modfile = binaries._patched_module(module, work)
    copy = work / "talos"
    assert (copy / binaries.OOM_SOURCE).read_text() == text.replace("!= 0", "> 0")
    assert source.read_text() == text
    assert f"replace {binaries.TALOS_MODULE} => {copy}\n" in modfile.read_text()
    assert (work / "go.sum").read_text() == "a sum\n"


@pytest.mark.parametrize("count", [0, 2])
def test_a_source_that_the_patch_does_not_fit_is_an_error(talos_copy, count):
    source, module, work = talos_copy
    source.write_text(f"{binaries.OOM_CONDITION}\n" * count)
    with pytest.raises(SetupError, match=r"process\.go of Talos 1\.0\.0"):
        binaries._patched_module(module, work)


def test_a_layer_is_the_same_bytes_every_time_and_holds_every_folder(tmp_path):
    def write(name):
        source = tmp_path / "program"
        source.write_bytes(b"x" * 100_000)
        entries = [
            images.program("usr/bin/init", source),
            images.hard_link("usr/bin/apid", "usr/bin/init"),
            images.folder("tmp", 0o1777),
            images.Entry(path="tmp/a", content=b"a"),
            images.link("var/run", "/run"),
        ]
        return images.layer_of(tmp_path / name, entries)

    layer = write("1.tar.gz")
    content = layer.path.read_bytes()
    assert content == write("2.tar.gz").path.read_bytes()
    assert layer.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert layer.diff_id == f"sha256:{hashlib.sha256(gzip.decompress(content)).hexdigest()}"
    assert layer.size == len(content)
    with tarfile.open(layer.path) as archive:
        modes = {member.name: oct(member.mode) for member in archive}
        assert list(modes) == ["usr", "usr/bin", "usr/bin/init", "usr/bin/apid", *list(modes)[4:]]
        assert modes["usr"] == "0o755"
        assert modes["tmp"] == "0o1777", "set once, not again for its content"
        assert archive.extractfile("usr/bin/apid").read() == b"x" * 100_000


def kubelet_patch():
    _, patch = cluster.node_patches()
    return patch["machine"]["kubelet"]


def test_the_kubelet_accepts_cgroup_v1_only_if_there_is_no_v2(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CGROUP", tmp_path)
    always = {"httpCheckFrequency": "1s", "evictionHard": {"memory.available": "100Mi"}}
    v1 = kubelet_patch()
    assert v1["extraConfig"] == {"failCgroupV1": False, **always}
    assert v1.keys() == {"extraConfig", "extraMounts"}
    (tmp_path / "cgroup.controllers").touch()
    assert kubelet_patch() == {"extraConfig": always}


def test_a_folder_that_is_made_once_is_there_whole_or_not_at_all(tmp_path):
    target = tmp_path / "tool" / "folder"

    def fail(path):
        path.mkdir()
        (path / "half").touch()
        raise SetupError("no network")

    def make(path):
        path.mkdir()
        (path / "whole").touch()

    with pytest.raises(SetupError):
        made_once(target, fail)
    assert [path.name for path in target.parent.iterdir()] == ["lock"]
    assert made_once(target, make) == target
    assert made_once(target, fail) == target, "it is there: nothing is made"
    assert [path.name for path in target.iterdir()] == ["whole"]
