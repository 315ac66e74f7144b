"""Two runs in one checkout at once: real processes that write the same files."""

import subprocess
import sys

from host import private_files
from toolchain import files

ROUNDS = 150
# Both begin at the same moment: when the file `go` is there.
STARTED_TOGETHER = """
import os, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
while not (folder / "go").exists():
    time.sleep(0.001)
"""


def together(tmp_path, *scripts):
    """Run these programs at once; what each of them printed."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", STARTED_TOGETHER + script, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for script in scripts
    ]
    (tmp_path / "go").touch()
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(scripts), outputs
    return [out for out, _ in outputs]


PLUGINS = f"""
from toolchain import engine, plugins
(folder / "work").mkdir(exist_ok=True)
plugins.BIN, plugins.WORK = folder / "own", folder / "work"
plugins._official = lambda plugin, engine: False
chosen = engine.Engine(program=folder / "sdk" / "pulumi", version="3.300.0", official=False)
for _ in range({ROUNDS}):
    plugins.ensure(chosen)
"""
# As another run's engine does, while this one's set-up is under way.
USER = f"""
import subprocess
names = ("pulumi", "pulumi-resource-docker", "pulumi-resource-command")
own = folder / "own"
while not all((own / name).exists() for name in names):
    time.sleep(0.001)
for _ in range({ROUNDS}):
    assert all((own / name).exists() for name in names), "a program is missing"
    assert (own / names[1]).read_text().endswith('"$@"\\n'), "half a launcher"
    assert subprocess.run([own / "pulumi"]).returncode == 0
"""


def test_launchers_are_there_all_the_time_for_two_runs(tmp_path):
    sdk = tmp_path / "sdk"
    sdk.mkdir()
    (sdk / "pulumi").write_text("#!/bin/sh\nexit 0\n")
    (sdk / "pulumi").chmod(0o755)
    together(tmp_path, PLUGINS, PLUGINS, USER)
    assert [path.name for path in tmp_path.joinpath("own").iterdir() if "tmp" in path.name] == []


PASSPHRASES = f"""
from host import passphrases
for number in range({ROUNDS}):
    passphrases.PRIVATE = folder / str(number)
    print(passphrases.passphrase_file("mine").read_text())
"""


def test_two_runs_make_one_passphrase(tmp_path):
    one, other = together(tmp_path, PASSPHRASES, PASSPHRASES)
    assert one == other
    assert all(one.splitlines()), "and none has read it before it was written"


RECORDS = f"""
from toolchain import docker_engine
docker_engine.STARTED = folder / "dockerd.json"
for number in range({ROUNDS * 4}):
    docker_engine._record(os.getpid(), "use" if number % 2 else "demo")
    assert docker_engine._running_pid() is not None, "half a record"
"""


def test_the_record_of_a_dockerd_is_read_whole(tmp_path):
    together(tmp_path, RECORDS, RECORDS)


SETUP = """
from toolchain import __main__ as toolchain
toolchain.LOCK = folder / "set-up.lock"
toolchain.places.check = dict
def step(*_, **__):
    with open(folder / "steps", "a") as steps:
        print(os.getpid(), file=steps, flush=True)
    time.sleep(0.05)
    return ()
for name in ("python_env", "docker_engine", "engine", "plugins", "registry_image"):
    getattr(toolchain, name).ensure = step
toolchain.docker_engine.choose = lambda: None
toolchain.launchers.ensure_command = lambda: None
toolchain.exports = lambda stack, endpoint: {"PATH": "/own"}
toolchain.setup("docker", "use", dev=False)
"""


def test_two_set_ups_of_one_checkout_do_one_thing_at_a_time(tmp_path):
    together(tmp_path, SETUP, SETUP)
    steps = tmp_path.joinpath("steps").read_text().split()
    assert len(steps) == 10
    assert len(set(steps[:5])) == len(set(steps[5:])) == 1, "one has ended before the other begins"


def test_a_file_that_is_as_it_should_be_is_not_written(tmp_path):
    file = tmp_path / "launcher"
    files.write_if_different(file, "text", 0o755)
    before = file.stat()
    files.write_if_different(file, "text", 0o755)
    assert file.stat().st_ino == before.st_ino
    assert before.st_mode & 0o777 == 0o755
    file.write_bytes(b"\xff")
    files.write_if_different(file, "other")
    assert file.read_text() == "other"
    assert file.stat().st_mode & 0o777 == 0o644


def test_a_link_is_changed_only_to_another_target(tmp_path):
    link = tmp_path / "pulumi"
    files.link_if_different(link, tmp_path / "one")
    before = link.lstat().st_ino
    files.link_if_different(link, tmp_path / "one")
    assert link.lstat().st_ino == before
    files.link_if_different(link, tmp_path / "two")
    assert link.readlink() == tmp_path / "two"


def test_what_is_there_already_is_not_written_a_second_time(tmp_path):
    private_files.write_once(tmp_path / "secret", "first")
    private_files.write_once(tmp_path / "secret", "second")
    assert (tmp_path / "secret").read_text() == "first"
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
