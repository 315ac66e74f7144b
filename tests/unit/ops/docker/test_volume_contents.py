"""Which files of volumes are looked at, by the scripts that run in a container."""

import os
import shutil
import subprocess
import time

import pytest

from ops.docker import volume_contents
from ops.docker.volumes import MOUNT
from plan.images.storage import ROOT
from tests.fakes.programs import program

OLD_SECONDS = 2 * 60 * 60
LEFT_OVER = (
    "repositories/app/_uploads/1/data",
    "repositories/app/_layers/sha256/a/link.1.tmp",
    "blobs/sha256/ab/x/data.new",
    "talos-cache-import/new/blobs/sha256/ab/x/data",
    "talos-cache-import-links/0123/repositories/app/_layers/sha256/a/link",
)
LINK = "repositories/app/_layers/sha256/a/link"
BLOB = "blobs/sha256/ab/x/data"


@pytest.fixture
def volume(tmp_path):
    root = tmp_path / "docker-io" / ROOT
    for name in (*LEFT_OVER, LINK, BLOB):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("12345")
    return root


def found(folder, script=volume_contents._FILES):
    """What the script finds below a folder of this machine: path below ROOT -> size."""
    done = run(folder, script, os.environ["PATH"])
    assert (done.returncode, done.stderr) == (0, "")
    rows = (line.split(" ") for line in done.stdout.splitlines())
    start = f"./docker-io/{ROOT}/"
    return {path.removeprefix(start): volume_contents.file(word).size for word, path in rows}


def run(folder, script, path):
    argv = ["sh", "-c", script.replace(MOUNT, str(folder))]
    env = {**os.environ, "PATH": path}
    return subprocess.run(argv, capture_output=True, text=True, env=env)


@pytest.mark.parametrize("script", [volume_contents._FILES, volume_contents._LINKS])
@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("find: ./docker-io/_uploads/1: No such file or directory", 0),
        ("stat: can't stat './docker-io/link': No such file or directory", 0),
        ("find: ./docker-io/_uploads/1: Permission denied", 1),
        ("find: ./docker-io/blobs: I/O error", 1),
    ],
)
def test_what_goes_away_meanwhile_is_no_error_and_anything_else_is(
    volume, tmp_path, script, said, status
):
    """As when clients pull: an upload is a folder that goes away when it is complete."""
    find = f'{shutil.which("find")} "$@"; echo "{said}" >&2; exit 1'
    path = program(tmp_path / "bin", "find", find).parent
    done = run(volume.parents[3], script, f"{path}:{os.environ['PATH']}")
    assert done.returncode == status
    assert LINK in done.stdout
    assert done.stderr == ("" if status == 0 else f"{said}\n")


def test_what_is_under_way_is_not_looked_at(volume):
    assert found(volume.parents[3]) == {LINK: 5}


def test_what_was_not_written_to_for_long_is_left_over(volume):
    then = time.time() - OLD_SECONDS
    for name in (*LEFT_OVER, LINK, BLOB):
        os.utime(volume / name, (then, then))
    assert found(volume.parents[3]) == dict.fromkeys((LINK, *LEFT_OVER), 5)


def test_links_alone_say_when_something_was_fetched(volume):
    assert found(volume.parents[3], volume_contents._LINKS).keys() >= {LINK}
    assert BLOB not in found(volume.parents[3], volume_contents._LINKS)
