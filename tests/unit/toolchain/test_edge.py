"""An error that nothing else handles is reported in one line; its traceback goes into a file."""

import ast
import errno
import os
import re
import stat
import subprocess
import sys

import pytest

from host import entry_point, installed
from host.paths import ROOT

# The packages whose `python -m` people, make and the engine run; the others are programs of Pulumi.
COMMANDS = [
    *sorted(
        path
        for path in ROOT.glob("**/__main__.py")
        if not (path.parent / "Pulumi.yaml").exists()
        and not {"tests", ".work"} & set(path.relative_to(ROOT).parts)
    ),
    ROOT / "ops" / "cluster" / "qemu_cleanup.py",
]


class KnownError(Exception):
    """Its text is meant for the user."""


@pytest.fixture
def errors(tmp_path, monkeypatch):
    folder = tmp_path / "errors"
    monkeypatch.setattr(entry_point, "ERRORS", folder)
    return folder


def raising(error):
    def work():
        raise error

    return work


def test_a_status_is_passed_on():
    assert entry_point.run("x", lambda: 3) == 3


def test_a_known_error_is_shown_as_it_is(capsys, errors):
    assert entry_point.run("x", raising(KnownError("so it is")), (KnownError,)) == 1
    assert capsys.readouterr().err == "x: so it is\n"
    assert not errors.exists()


def test_an_interrupt_has_its_own_status(capsys):
    assert entry_point.run("x", raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "x: interrupted\n"


def test_an_exit_is_left_alone():
    with pytest.raises(SystemExit, match="5"):
        entry_point.run("x", raising(SystemExit(5)))


def test_a_bug_is_reported_in_one_line_and_its_traceback_kept_in_a_private_file(capsys, errors):
    assert entry_point.run("x", raising(ValueError("hunter2"))) == entry_point.SOFTWARE_ERROR
    printed = capsys.readouterr().err
    assert len(printed.splitlines()) == 1
    assert "ValueError at tests/unit/toolchain/test_edge.py:" in printed
    assert "report it" in printed
    assert "hunter2" not in printed, "the text of an unknown error may contain a secret"
    (traceback,) = errors.iterdir()
    assert str(traceback) in printed
    assert "ValueError: hunter2" in traceback.read_text()
    assert stat.S_IMODE(traceback.stat().st_mode) == 0o600
    assert stat.S_IMODE(errors.stat().st_mode) == 0o700


def test_an_error_of_the_system_is_shown_with_its_text(capsys, errors):
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/var/lib/x")
    assert entry_point.run("x", raising(error)) == 1
    assert "No space left on device: /var/lib/x" in capsys.readouterr().err
    assert list(errors.iterdir())


def test_a_traceback_goes_elsewhere_if_the_checkout_is_not_writable(capsys, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(entry_point, "ERRORS", tmp_path / "file" / "errors")
    monkeypatch.setattr(entry_point.tempfile, "tempdir", str(tmp_path))
    assert entry_point.run("x", raising(ValueError())) == entry_point.SOFTWARE_ERROR
    (traceback,) = tmp_path.glob("*.log")
    assert str(traceback) in capsys.readouterr().err


def test_a_traceback_that_can_not_be_written_hides_no_error(capsys, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(entry_point, "ERRORS", tmp_path / "file" / "errors")
    monkeypatch.setattr(entry_point.tempfile, "tempdir", str(tmp_path / "file"))
    assert entry_point.run("x", raising(ValueError())) == entry_point.SOFTWARE_ERROR
    assert "ValueError at " in capsys.readouterr().err


def test_root_leaves_nothing_in_the_checkout_of_another(tmp_path, monkeypatch, errors, capsys):
    monkeypatch.setattr(entry_point.os, "geteuid", lambda: entry_point.WORK.stat().st_uid + 1)
    monkeypatch.setattr(entry_point.tempfile, "tempdir", str(tmp_path))
    entry_point.run("x", raising(ValueError()))
    assert not errors.exists()
    assert list(tmp_path.glob("*.log"))


PRINTS = """
import pathlib, sys
from host import entry_point

entry_point.ERRORS = pathlib.Path("{errors}")

def work():
    for _ in range({count}):
        print("a line of output that may be read or not")
    {end}

sys.exit(entry_point.run("x", work))
"""


def python(script, **options):
    return subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, text=True, **options)


# Few lines are still in the buffer when the work is done, many are not.
@pytest.mark.parametrize("count", [1, 100_000])
@pytest.mark.parametrize("end", ["return 0", "sys.exit(0)", "raise ValueError"])
def test_a_reader_that_has_read_enough_is_not_an_error(count, end, tmp_path):
    read, write = os.pipe()
    os.close(read)  # gone before the first line: no race with `head`
    script = PRINTS.format(errors=tmp_path, count=count, end=end)
    process = python(script, stdout=write, stderr=write)
    os.close(write)
    assert process.wait(timeout=60) == entry_point.READER_GONE


def test_a_reader_that_has_read_enough_causes_no_output(tmp_path):
    read, write = os.pipe()
    os.close(read)
    script = PRINTS.format(errors=tmp_path, count=100_000, end="return 0")
    process = python(script, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == entry_point.READER_GONE


def test_a_broken_connection_is_not_a_reader_that_is_gone(capsys, errors):
    error = BrokenPipeError(errno.EPIPE, "Broken pipe")
    assert entry_point.run("x", raising(error)) == 1
    assert "Broken pipe" in capsys.readouterr().err


def test_closed_output_is_not_an_error(tmp_path):
    script = PRINTS.format(errors=tmp_path, count=1, end="return 0")
    line = f"{sys.executable} -c '{script}' >&- 2>&-"
    assert subprocess.run(["sh", "-c", line], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_is_run_at_the_edge(path):
    guard = ast.parse(path.read_text()).body[-1]
    assert ast.unparse(guard).startswith("if __name__ == '__main__':")
    calls = [node for node in ast.walk(guard) if isinstance(node, ast.Call)]
    ends = [call.args[0] for call in calls if ast.unparse(call.func) == "sys.exit"]
    works = [end for end in ends if not isinstance(end, ast.JoinedStr)]  # which says how to call it
    assert works
    assert all(ast.unparse(end).startswith("entry_point.run(") for end in works)


def test_the_commands_are_found():
    names = {str(path.parent.relative_to(ROOT)) for path in COMMANDS[:-1]}
    assert names == {"ops", "ops/cluster", "ops/harbor", "toolchain", "demo", "bench"}


@pytest.mark.parametrize("module", ["toolchain", "ops", "demo", "bench", "ops.cluster"])
def test_an_old_python_is_refused_with_the_version_that_is_needed(module):
    # No Python as old as that is at hand: this one claims to be.
    script = (
        "import runpy, sys; sys.version_info = (3, 9, 2, 'final', 0); sys.version = '3.9.2 (old)'; "
        f"sys.argv = ['x']; runpy.run_module('{module}', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert re.fullmatch(r".* 3\.10 or newer.* 3\.9\.2.*\n", done.stderr)


def test_an_old_python_can_parse_the_check():
    for package in ("host", "toolchain", "ops", "demo", "bench"):
        text = (ROOT / package / "__init__.py").read_text()
        ast.parse(text, feature_version=(3, 6))
    imports = [
        node
        for node in ast.walk(ast.parse((ROOT / "host" / "__init__.py").read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    assert [ast.unparse(node) for node in imports] == ["import sys"], "the rest is too new for it"


@pytest.mark.parametrize(
    ("command", "stack"),
    [(("ops", "doctor", "--stack", "x"), "x"), (("demo",), "docker"), (("bench",), "docker")],
)
def test_another_python_than_the_projects_is_refused_with_the_way_to_it(command, stack):
    # -S and -I leave out what is installed, as in the system's own Python.
    script = f"import sys; sys.path.insert(0, '.'); sys.argv = {list(command)}; " + (
        f"import runpy; runpy.run_module('{command[0]}', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "pulumi, pulumi_command" in done.stderr
    assert f'eval "$(make -s setup STACK={stack})"' in done.stderr
    assert "Traceback" not in done.stderr


def test_every_requirement_is_checked_for():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    required = [line for line in lines if line and not line.startswith("#")]
    assert len(installed.NEEDED) == len(required)
    installed.require()


def test_the_line_that_sets_a_shell_up_works_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert installed.set_up_line("mine") == 'eval "$(make -s setup STACK=mine)"'
    monkeypatch.setattr(installed, "ROOT", tmp_path / "a checkout")
    (tmp_path / "a checkout").mkdir()
    (tmp_path / "a checkout" / "Makefile").write_text("setup:\n\t@echo echo $(STACK) is set up\n")
    # Not with the options of a make that runs the tests.
    env = {key: value for key, value in os.environ.items() if not key.startswith("M")}
    argv = ["bash", "-c", installed.set_up_line("mine")]
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("mine is set up\n", "")
