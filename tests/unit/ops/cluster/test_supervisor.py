"""Programs that are run until they end, the time is up, or no one waits any more."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ops.cluster.supervisor import StoppedError, Supervisor, run
from ops.errors import OpsError

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def shell(script, supervisor=None, folder=Path("/")):
    run(["sh", "-c", script], ENVIRONMENT, folder, supervisor or Supervisor())


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_it_prints_is_shown_on_stderr_as_it_comes(capfd):
    shell("echo one; echo two >&2; printf '3%%\\r4%%\\n'")
    out, err = capfd.readouterr()
    assert out == "", "standard output is kept for the result"
    assert [line.strip() for line in err.splitlines()] == ["one", "two", "3%", "4%"]


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("echo early; echo no such thing >&2; exit 3", r"sh ended with 3: no such thing"),
        ("exit 1", r"sh ended with 1: \(nothing\)"),
    ],
)
def test_a_failure_names_the_program_its_status_and_its_last_output(script, text):
    with pytest.raises(OpsError, match=text):
        shell(script)


def test_out_of_time_the_whole_group_is_ended_and_the_last_output_is_that_before(tmp_path):
    script = (
        f"trap 'echo ending; exit 1' TERM; sleep 60 & echo $! > {tmp_path}/pid; echo waiting; wait"
    )
    started = time.monotonic()
    with pytest.raises(StoppedError, match=r"not done within 3s; .*: waiting$"):
        shell(script, Supervisor(3, "3s"))
    assert time.monotonic() - started < 10
    assert not is_running((tmp_path / "pid").read_text().strip()), "its child was ended as well"


def test_a_program_that_ignores_the_polite_signal_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("ops.cluster.supervisor.GRACE_SECONDS", 0.3)
    script = f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.1; done"
    with pytest.raises(StoppedError):
        shell(script, Supervisor(3, "3s"))
    assert not is_running((tmp_path / "pid").read_text().strip())


def test_a_program_of_roots_that_may_not_be_ended_is_left_to_the_removal(monkeypatch):
    """Run by sudo. The refusal is faked: root, which runs this test, is never refused."""

    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("ops.cluster.supervisor.os.killpg", refused)
    monkeypatch.setattr("ops.cluster.supervisor.GRACE_SECONDS", 0.1)
    with pytest.raises(StoppedError, match=r"not done within 3s; .*: waiting$"):
        shell("echo waiting; sleep 10", Supervisor(3, "3s"))


def test_it_stops_when_the_other_end_of_the_pipe_is_closed():
    read_end, write_end = os.pipe()
    Supervisor(pipe=read_end).check()
    os.close(write_end)
    with pytest.raises(StoppedError, match="interrupted"):
        shell("sleep 60", Supervisor(pipe=read_end))
    os.close(read_end)


def test_it_runs_in_a_session_of_its_own_in_the_folder_given(tmp_path):
    shell("pwd > where; ps -o sid= -p $$ > session", folder=tmp_path)
    assert (tmp_path / "where").read_text().strip() == str(tmp_path)
    assert int((tmp_path / "session").read_text()) != os.getsid(0)


def test_a_reader_that_is_gone_is_not_a_failure():
    script = "from ops.cluster.supervisor import say; say('a'); say('b'); print('done')"
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=write_end, text=True
    )
    os.close(write_end)
    assert done.stdout.strip() == "done"
