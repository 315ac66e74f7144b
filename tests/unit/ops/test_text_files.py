"""Text files as editors and shells of all systems write them."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from host.paths import ROOT
from ops import text_files
from ops.commands import image_selection
from ops.errors import OpsError
from plan.images.reference import parse_list

LIST = "docker.io/library/busybox:1.36\r\n# ä\r\nghcr.io/a/b:1\r\n"
HOSTS = ("docker.io", "ghcr.io")


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le with a mark", "utf-16-be with a mark"],
)
def test_a_list_from_notepad_or_powershell_is_a_list_like_others(encoding, tmp_path):
    name = encoding.split()[0]
    mark = "\ufeff" if " with a mark" in encoding else ""
    file = tmp_path / "images.txt"
    file.write_bytes((mark + LIST).encode(name))
    assert text_files.read(file) == LIST.replace("\r\n", "\n")
    assert len(parse_list(image_selection.read(str(file)), "images.txt", HOSTS)) == 2


@pytest.mark.parametrize(
    "content",
    [LIST.encode("latin-1"), LIST.encode("utf-16-le"), b"\xff\xfea", b"\x7fELF\0\0\xff"],
)
def test_what_is_not_text_is_refused_with_a_way_to_make_it_text(content, tmp_path):
    file = tmp_path / "images.txt"
    file.write_bytes(content)
    with pytest.raises(OpsError, match="save it as UTF-8") as caught:
        image_selection.read(str(file))
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("name", ["not-there", "", "a\0b", "x" * 5000])
def test_what_is_not_a_file_is_refused(name, tmp_path):
    with pytest.raises(OpsError, match="can't be read"):
        image_selection.read(f"{tmp_path}/{name}")


def test_an_unknown_home_folder_is_refused():
    with pytest.raises(OpsError, match="no home folder for ~nosuchuser"):
        text_files.path("~nosuchuser/images.txt")
    assert text_files.path("~/images.txt") == Path.home() / "images.txt"


def test_standard_input_is_read_like_a_file(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(LIST.encode("utf-16")))
    monkeypatch.setattr("sys.stdin", stream)
    assert image_selection.read("-") == LIST.replace("\r\n", "\n")


def test_a_closed_standard_input_is_a_known_error():
    script = "import sys; from ops.commands import image_selection; image_selection.read('-')"
    line = f'exec {sys.executable} -c "{script}" <&-'
    done = subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, text=True)
    assert "OpsError: " in done.stderr
    assert "it is closed" in done.stderr
