"""How the engine is run; a double stands in its place, a script that takes a second to end."""

import os
import signal
import subprocess
import sys

import pytest

from ops import pulumi_cli
from ops.errors import OpsError

# It ends after the second interrupt only, so that none comes when it has ended already; or after
# a while, where it gets none.
PULUMI = """#!/bin/sh
interrupts=0 waited=0
trap 'interrupts=$((interrupts + 1)); echo "interrupt $interrupts"' INT
echo started
while [ $interrupts -lt 2 ] && [ $waited -lt 200 ]; do sleep 0.05; waited=$((waited + 1)); done
sleep 1
echo "ended in order"
exit 7
"""
SCRIPT = "import sys; from ops import pulumi_cli; sys.exit(pulumi_cli.run('up'))"


def test_ctrl_c_lets_it_end_in_order(tmp_path):
    program = tmp_path / "pulumi"
    program.write_text(PULUMI)
    program.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        env={
            **os.environ,
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "PULUMI_BACKEND_URL": f"file://{tmp_path}",
        },
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout.readline() == "started\n"
        for count in (1, 2):  # an impatient user
            os.killpg(process.pid, signal.SIGINT)
            assert process.stdout.readline() == f"interrupt {count}\n"
        said, _ = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert (said, process.returncode) == ("ended in order\n", 7)


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A PATH without anything, and nobody logged in anywhere."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path))
    for name in ("PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize("run", [pulumi_cli.run, pulumi_cli.output])
def test_a_shell_that_is_not_set_up_is_told_how(bare, run):
    with pytest.raises(OpsError, match=r'pulumi is not on PATH. .* eval "\$\(make -s setup\)"'):
        run("up")
    program = bare / "pulumi"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    with pytest.raises(OpsError, match=r'where state is kept. .* eval "\$\(make -s setup\)"'):
        run("up")


@pytest.mark.parametrize("name", ["PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN"])
def test_any_place_for_state_will_do(bare, monkeypatch, name):
    program = bare / "pulumi"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    monkeypatch.setenv(name, "file:///somewhere")
    assert pulumi_cli.run("up") == 0
