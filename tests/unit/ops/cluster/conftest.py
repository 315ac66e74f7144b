"""What clusters on QEMU consist of, without QEMU."""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from ops.cluster import qemu_cleanup
from ops.cluster.folder import folder_of, owner_of
from tests.unit.ops.cluster.qemu import NAME, STACK, interface, is_alive


@pytest.fixture
def place(monkeypatch):
    """A folder that any user can enter, with the user's files below it."""
    path = Path(tempfile.mkdtemp(prefix="tq-"))
    path.chmod(0o755)
    for variable, name in (
        ("XDG_STATE_HOME", "state"),
        ("XDG_CACHE_HOME", "cache"),
        ("HOME", "home"),
        ("PULUMI_HOME", "pulumi"),
    ):
        (path / name).mkdir()
        monkeypatch.setenv(variable, str(path / name))
    monkeypatch.delenv("TALOS_HOME", raising=False)
    monkeypatch.setattr(qemu_cleanup, "GRACE_SECONDS", 0.5)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def folder(place):
    """The private folder of a cluster that this stack is making."""
    made = folder_of(STACK, NAME)
    made.prepare(owner_of(STACK))
    (made.state / NAME).mkdir(parents=True)
    return made


@pytest.fixture
def started():
    """Starts processes and ends them at the end of the test."""
    running = []

    def start(program, *arguments, **more):
        """A `tail`, or another program, under the name of `program`."""
        executable = more.pop("executable", shutil.which("tail"))
        process = subprocess.Popen(
            [program, *arguments], executable=executable, stderr=subprocess.DEVNULL, **more
        )
        running.append(process)
        while Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")[0] != program:
            assert is_alive(process)
            time.sleep(0.001)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def bridge():
    """An interface named like the cluster's bridge."""
    with interface(qemu_cleanup.bridge_of(NAME)) as name:
        yield name
