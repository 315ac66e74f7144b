"""How the engine is run; doubles take its place, scripts that only do what is written here."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ops.engine import cli
from ops.errors import OpsError

# It ends only after the second interrupt, so that none comes after its end; or after a while, if
# it gets none.
PULUMI = """#!/bin/sh
interrupts=0 waited=0
trap 'interrupts=$((interrupts + 1)); echo "interrupt $interrupts"' INT
echo started
while [ $interrupts -lt 2 ] && [ $waited -lt 200 ]; do sleep 0.05; waited=$((waited + 1)); done
sleep 1
echo "ended in order"
exit 7
"""
SCRIPT = "import sys; from ops.engine import cli; sys.exit(cli.run('up', 'mine', 'up'))"


def double(folder, text):
    program = folder / "pulumi"
    program.write_text(text)
    program.chmod(0o755)


def test_after_ctrl_c_it_can_end_in_order(tmp_path):
    double(tmp_path, PULUMI)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        env={
            **os.environ,
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "PULUMI_BACKEND_URL": f"file://{tmp_path}",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout.readline() == "started\n"
        for count in (1, 2):  # an impatient user
            os.killpg(process.pid, signal.SIGINT)
            assert process.stdout.readline() == f"interrupt {count}\n"
        printed, errors = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert (printed, process.returncode) == ("ended in order\n", 7)
    assert errors.splitlines()[1] == "up was interrupted:"


# Writes an event log as the engine does, where `--event-log` says, and what it was called with.
ENGINE = """#!/bin/sh
for last; do :; done
cp {here}/events "$last"
printf '%s\n' "$*" "$PULUMI_DEBUG_COMMANDS" >{here}/called
stat -c %a "$(dirname "$last")" >{here}/mode
echo live
echo "the engine's own error" >&2
exit {status}
"""


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """Puts a double on PATH that logs these lines and ends with this status; returns its folder."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}")

    def put(lines, status):
        (tmp_path / "events").write_text("\n".join(lines))
        double(tmp_path, ENGINE.format(here=tmp_path, status=status))
        return tmp_path

    return put


def event(message, urn):
    diagnostic = {"urn": urn, "message": message, "severity": "error"}
    return json.dumps({"diagnosticEvent": diagnostic})


def test_the_last_lines_of_a_failed_run_are_ours(engine, capfd):
    torn = '{"diagnosticEvent": {"urn":'
    log = [event("no room", "a::b::c::one"), event("no room", "a::b::c::two"), torn]
    here = engine(log, 255)
    assert cli.run("down", "mine", "destroy", "--yes") == 255
    printed = capfd.readouterr()
    assert printed.out == "live\n", "what the engine shows goes straight to the terminal"
    assert printed.err.splitlines() == [
        "the engine's own error",
        "",
        "down failed:",
        "  one, two: no room",
        "What was done is kept. Once the cause is fixed, continue with: make down STACK=mine",
    ]
    called, debug = (here / "called").read_text().splitlines()
    assert called.startswith("destroy --yes --stack mine --event-log /")
    assert debug == "true", "the engine knows --event-log only with this"
    log_file = Path(called.split()[-1])
    assert not log_file.parent.exists(), "nothing is left of the log"
    mode = int((here / "mode").read_text(), 8)
    assert mode & (stat.S_IRWXG | stat.S_IRWXO) == 0, "and no one else could read it"


def test_the_line_to_repeat_removes_no_more_than_the_first(engine, capfd):
    engine([event("no room", "a::b::c::one")], 255)
    assert cli.run("cluster-down", "mine", "destroy", CLUSTER="one") == 255
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.endswith("continue with: make cluster-down STACK=mine CLUSTER=one")


def test_a_run_that_succeeds_adds_nothing(engine, capfd):
    engine([event("reported, and overcome", "a::b::c::one")], 0)
    assert cli.run("up", "mine", "up") == 0
    assert capfd.readouterr().err == "the engine's own error\n"


def test_an_engine_that_did_not_get_as_far_as_a_log(tmp_path, monkeypatch, capfd):
    double(tmp_path, "#!/bin/sh\necho 'error: the stack is locked' >&2\nexit 1\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}")
    assert cli.run("preview", "mine", "preview") == 1
    last = "preview failed: the last lines above say why."
    assert capfd.readouterr().err.splitlines() == ["error: the stack is locked", "", last]


def test_a_command_that_fails_is_reported_with_both_its_streams(tmp_path, monkeypatch):
    double(tmp_path, "#!/bin/sh\necho 'of a resource'; echo 'of the engine' >&2; exit 1\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}")
    with pytest.raises(OpsError, match=r"refresh failed: of a resource\nof the engine"):
        cli.output("mine", "refresh")


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A PATH without anything, and no login to any backend."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path))
    for name in ("PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    "run", [lambda: cli.run("up", "mine", "up"), lambda: cli.output("mine", "about")]
)
def test_a_shell_that_is_not_set_up_is_told_how(bare, run):
    line = r'eval "\$\(make -s setup STACK=mine\)"'
    with pytest.raises(OpsError, match=f"pulumi is not on PATH. .* {line}"):
        run()
    program = bare / "pulumi"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    with pytest.raises(OpsError, match=f"where state is kept. .* {line}"):
        run()


@pytest.mark.parametrize("name", ["PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN"])
def test_any_place_for_state_will_do(bare, monkeypatch, name):
    program = bare / "pulumi"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    monkeypatch.setenv(name, "file:///somewhere")
    assert cli.run("up", "mine") == 0
