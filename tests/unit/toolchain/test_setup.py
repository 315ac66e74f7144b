"""The set-up's decisions, with the machine's answers given."""

import fcntl
import gzip
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import zstandard

from host import docker_endpoint, errors, locks, pulumi_backend
from host.docker_endpoint import Endpoint
from host.passphrases import PUBLIC_PASSPHRASE, passphrase_file
from host.paths import ROOT
from tests.fakes.dockerd import Answer, unix_server
from toolchain import __main__ as toolchain
from toolchain import (
    debian,
    docker_engine,
    engine,
    environment,
    go,
    launchers,
    plugins,
    steps,
)

USUAL = Endpoint(url="unix:///var/run/docker.sock")


def program(folder, name, script):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare_path(tmp_path, monkeypatch):
    """A PATH with nothing on it but what the test puts there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_an_official_engine_that_is_new_enough_is_used(bare_path, monkeypatch):
    path = program(bare_path, "pulumi", "echo v3.300.1")
    monkeypatch.setattr(go, "build", pytest.fail)
    found = engine.ensure()
    assert (found.program, found.version, found.official) == (path, "3.300.1", True)
    assert str(found) == "pulumi 3.300.1 (official)"


def test_an_official_engine_behind_a_shim_has_its_plugins_beside_it(plugin_folders, monkeypatch):
    tmp_path, chosen = plugin_folders
    program(tmp_path / "sdk", "pulumi", "echo v3.300.1")
    program(tmp_path / "sdk", "pulumi-language-python", "exit 0")
    manager = program(tmp_path / "bin", "mise", f"echo {chosen.program}")
    (tmp_path / "bin" / "pulumi").symlink_to(manager)
    found = engine.ensure()
    assert found.program == chosen.program
    assert "python" not in [plugin.name for plugin in plugins.ensure(found)]


def test_an_engine_that_is_too_old_is_told_and_one_is_built(bare_path, monkeypatch, capsys):
    program(bare_path, "pulumi", "echo v3.200.0")
    built = bare_path / "built"
    monkeypatch.setattr(go, "build", lambda *_: built)
    assert engine.ensure().program == built
    assert "pulumi 3.200.0 on PATH is older than" in capsys.readouterr().err


def test_the_projects_own_folder_on_path_does_not_count_as_official(monkeypatch, tmp_path):
    monkeypatch.setattr(engine, "BIN", tmp_path / "own")
    program(tmp_path / "own", "pulumi", "echo v3.300.0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'own'}:{tmp_path / 'other'}")
    assert engine.foreign_path() == str(tmp_path / "other")


@pytest.fixture
def plugin_folders(tmp_path, monkeypatch, bare_path):
    """No plugin anywhere, nothing to be fetched."""
    monkeypatch.setattr(plugins, "BIN", tmp_path / "own")
    monkeypatch.setattr(plugins, "WORK", tmp_path / "work")
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    chosen = engine.Engine(
        program=program(tmp_path / "sdk", "pulumi", "exit 1"), version="3.300.0", official=True
    )
    return tmp_path, chosen


def test_a_missing_plugin_gets_a_fallback_on_path(plugin_folders):
    tmp_path, chosen = plugin_folders
    missing = plugins.ensure(chosen)
    assert [plugin.name for plugin in missing] == ["python", "docker", "command"]
    launcher = tmp_path / "own" / "pulumi-resource-docker"
    assert os.access(launcher, os.X_OK)
    assert "fallback" in launcher.read_text()
    described = plugins.describe(missing)
    assert described.startswith("python: fallback, docker: fallback, command: fallback (")


@pytest.mark.parametrize("plugin", plugins.PLUGINS, ids=lambda plugin: plugin.name)
@pytest.mark.parametrize("folder", ["a path with space & 'more' $HOME", "long/" * 60])
def test_a_launcher_works_wherever_the_checkout_is(tmp_path, plugin, folder):
    root = tmp_path / folder
    root.mkdir(parents=True)
    for name in ("toolchain", "host"):
        (root / name).symlink_to(ROOT / name)
    (root / "venv").symlink_to(Path(sys.prefix))
    launcher = root / plugin.program
    launcher.write_text(plugins.launcher_text(plugin, root, root / "venv" / "bin" / "python"))
    launcher.chmod(0o755)
    # A module in the folder in which the plugin is started, which must not be imported.
    (tmp_path / "grpc.py").write_text("raise SystemExit('the wrong grpc')")
    running = subprocess.Popen([launcher], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout.readline().strip().isdecimal(), "it prints its port"
    finally:
        running.kill()
        running.communicate()


def test_the_command_of_a_checkout_runs_in_any_folder_with_its_own_modules(tmp_path):
    own = tmp_path / "own"
    launchers.ensure_command(own)
    # Modules in the user's folder, which must not be imported.
    for name in ("docker", "ops"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('the wrong {name}')")
    done = subprocess.run(
        ["talos-cache", "verify", "--help"],
        cwd=tmp_path,
        env={"PATH": f"{own}:/usr/bin:/bin", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: talos-cache verify ")


def test_the_set_up_puts_the_command_where_its_lines_lead(monkeypatch, tmp_path, no_login):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(toolchain, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(toolchain.places, "check", dict)
    monkeypatch.setattr(toolchain.docker_engine, "choose", lambda: USUAL)
    for module in ("python_env", "docker_engine", "engine", "plugins", "registry_image"):
        monkeypatch.setattr(getattr(toolchain, module), "ensure", lambda *_, **__: ())
    made = []
    monkeypatch.setattr(launchers, "write", lambda path, text: made.append(path))
    lines = toolchain.setup("docker", "use", dev=False)
    (command,) = made
    assert f'export PATH={command.parent}:"$PATH"' in lines
    assert command.name == "talos-cache"


def test_fallbacks_are_put_on_path_one_by_one(plugin_folders):
    tmp_path, chosen = plugin_folders
    plugins.ensure(chosen)
    program(tmp_path / "sdk", "pulumi-language-python", "exit 0")
    program(tmp_path / "bin", "pulumi-resource-command", "exit 0")
    version = plugins._required_version(plugins.PLUGINS[1])
    folder = tmp_path / "home" / "plugins" / f"resource-docker-v{version}"
    missing = plugins.ensure(chosen)
    assert [plugin.name for plugin in missing] == ["docker"]
    program(folder, "pulumi-resource-docker", "exit 0")
    assert plugins.ensure(chosen) == ()
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == []


def test_a_plugin_in_another_version_than_the_program_asks_for_does_not_count(plugin_folders):
    tmp_path, chosen = plugin_folders
    folder = tmp_path / "home" / "plugins" / "resource-docker-v0.0.1"
    program(folder, "pulumi-resource-docker", "exit 0")
    assert "docker" in [plugin.name for plugin in plugins.ensure(chosen)]


def test_a_download_that_failed_is_not_tried_again_at_once(plugin_folders):
    tmp_path, chosen = plugin_folders
    tried = tmp_path / "tried"
    chosen.program.write_text(f"#!/bin/sh\necho x >> {tried}\nexit 1\n")
    plugins.ensure(chosen)
    plugins.ensure(chosen)
    assert len(tried.read_text().splitlines()) == len(plugins.PLUGINS)


def test_without_root_the_set_up_says_what_to_install(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(errors.SetupError, match=r"sudo apt-get install docker\.io"):
        debian.install(("docker.io",), "Docker is missing")


def test_without_root_a_docker_that_does_not_answer_is_explained(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(errors.SetupError, match=r"at .*/none\.sock\. Start it") as caught:
        docker_engine.ensure(Endpoint(url=f"unix://{tmp_path}/none.sock"))
    assert "group" not in str(caught.value), "it is not about permissions"


def test_a_go_that_another_process_is_still_installing_is_not_used(
    bare_path, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    version = f"echo go version go{go.GO_PACKAGE.partition('==')[2]} linux/amd64"
    cache = go.user_cache() / go.GO_PACKAGE.replace("==", "-")
    program(cache / "tmpab12" / "package" / "bin", "go", version)
    monkeypatch.setattr(go, "_install", lambda folder: program(folder / "bin", "go", version))
    assert go.ensure() == cache / "package" / "bin" / "go"


@pytest.fixture
def started(monkeypatch, tmp_path):
    """A process in the place of dockerd, and a socket at which nothing answers yet."""
    monkeypatch.setattr(docker_endpoint, "DEFAULT_SOCKET", str(tmp_path / "docker.sock"))
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def test_a_dockerd_in_which_containers_run_is_not_stopped(started, monkeypatch, tmp_path, capsys):
    """They may be another checkout's, which found this dockerd running and recorded nothing."""
    docker_engine._record(started.pid, "demo")
    with unix_server(tmp_path / "docker.sock"):
        monkeypatch.setattr(Answer, "body", b'{"Containers": 3, "ContainersRunning": 2}')
        docker_engine.stop_if_ours("demo")
        assert started.poll() is None
        printed = capsys.readouterr().err
        assert f"process {started.pid}" in printed
        assert "(2)" in printed
        docker_engine._record(started.pid, "test")
        docker_engine.stop_if_ours("test")
        assert started.wait(timeout=60) != 0, "what tests leave behind is not in use"


def test_a_dockerd_in_which_nothing_runs_is_stopped(started, monkeypatch, tmp_path):
    docker_engine._record(started.pid, "demo")
    with unix_server(tmp_path / "docker.sock"):
        monkeypatch.setattr(Answer, "body", b'{"Containers": 3, "ContainersRunning": 0}')
        docker_engine.stop_if_ours("demo")
        assert started.wait(timeout=60) != 0


def test_only_the_dockerd_that_was_started_for_this_is_stopped(started):
    docker_engine._record(started.pid, "demo")
    docker_engine.stop_if_ours("test")
    assert started.poll() is None, "it was started for something else"
    record = json.loads(docker_engine.STARTED.read_text())
    docker_engine.STARTED.write_text(json.dumps({**record, "started": "1"}))
    docker_engine.stop_if_ours("demo")
    assert started.poll() is None, "the number belongs to another process now"
    docker_engine._record(started.pid, "demo")
    docker_engine.stop_if_ours("demo")
    assert started.wait(timeout=60) != 0


def test_a_failing_step_shows_the_command_and_the_end_of_its_output(monkeypatch, tmp_path):
    monkeypatch.setattr(steps, "LOGS", tmp_path)
    with pytest.raises(errors.SetupError, match="the reason") as caught:
        steps.run("doing it", ["sh", "-c", "echo the reason; exit 3"])
    assert "sh -c" in str(caught.value)
    assert "doing it failed" in str(caught.value)


def test_a_step_that_takes_long_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(steps, "LOGS", tmp_path)
    monkeypatch.setattr(steps, "FIRST_PROGRESS_SECONDS", 0.05)
    steps.run("waiting", ["sleep", "0.3"])
    assert "... waiting (0 s)" in capsys.readouterr().err


def test_of_nested_steps_only_the_innermost_reports_its_time(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(steps, "LOGS", tmp_path)
    monkeypatch.setattr(steps, "FIRST_PROGRESS_SECONDS", 0.02)
    monkeypatch.setattr(steps, "PROGRESS_EVERY_SECONDS", 0.02)
    printed = []

    def wait_for(text):
        deadline = time.monotonic() + 30
        while f"... {text} (" not in printed[-1]:
            assert time.monotonic() < deadline, printed
            time.sleep(0.01)
            printed[-1] += capsys.readouterr().err

    with steps.progress("outer"):
        printed.append("")
        wait_for("outer")
        with steps.progress("inner"):
            capsys.readouterr()
            printed.append("")
            wait_for("inner")
        printed.append("")
        wait_for("outer")
    assert "outer" not in printed[1]


def test_own_stacks_have_a_secret_passphrase_and_shipped_ones_the_public_one(monkeypatch, tmp_path):
    monkeypatch.setattr("host.passphrases.PRIVATE", tmp_path / "private")
    own, public = passphrase_file("alice"), passphrase_file("docker")
    assert public.read_text() == PUBLIC_PASSPHRASE
    assert len(own.read_text()) >= 32
    assert passphrase_file("bob").read_text() == own.read_text(), "made once"
    assert own.stat().st_mode & 0o777 == 0o600
    assert own.parent.stat().st_mode & 0o777 == 0o700


@pytest.fixture
def no_login(monkeypatch, tmp_path):
    monkeypatch.setattr(pulumi_backend, "STATE", tmp_path / "state")
    monkeypatch.setattr("host.passphrases.PRIVATE", tmp_path / "private")
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
    return tmp_path


def test_state_is_kept_in_the_project_only_without_a_login(no_login):
    assert (
        environment.exports("docker", USUAL)["PULUMI_BACKEND_URL"] == f"file://{no_login / 'state'}"
    )
    (no_login / "home").mkdir()
    (no_login / "home" / "credentials.json").write_text('{"current": "https://example.com"}')
    assert "PULUMI_BACKEND_URL" not in environment.exports("docker", USUAL)


@pytest.mark.parametrize(
    ("folder", "url"),
    [("a b & c", "a b & c"), ("50% #1?", "50%25 %231%3F"), ("%41", "%2541"), ("ü+@~", "ü+@~")],
)
def test_the_engine_finds_its_state_in_any_folder(no_login, monkeypatch, folder, url):
    monkeypatch.setattr(pulumi_backend, "STATE", no_login / folder)
    exported = environment.exports("docker", USUAL)["PULUMI_BACKEND_URL"]
    assert exported == f"file://{no_login}/{url}"


def test_the_folder_of_a_lost_state_is_recreated_in_a_shell_that_was_set_up(no_login, monkeypatch):
    monkeypatch.setenv(
        "PULUMI_BACKEND_URL", environment.exports("docker", USUAL)["PULUMI_BACKEND_URL"]
    )
    (no_login / "state").rmdir()
    assert "PULUMI_BACKEND_URL" not in environment.exports("docker", USUAL), "it is set already"
    assert (no_login / "state").is_dir(), "the engine needs it"


def test_the_lines_lead_to_the_docker_that_was_chosen(no_login):
    chosen = Endpoint(url="tcp://lab:2376", source="a test", certificates=no_login / "a b")
    lines = environment.shell_lines(environment.exports("docker", chosen))
    assert "export DOCKER_HOST=tcp://lab:2376\n" in lines
    assert f"export DOCKER_CERT_PATH='{no_login}/a b'\n" in lines
    assert "unset DOCKER_TLS\nexport DOCKER_TLS_VERIFY=1\n" in lines
    assert "unset DOCKER_HOST\n" in environment.shell_lines(environment.exports("docker", USUAL))


def test_the_lines_work_in_a_shell_whatever_the_folder_is_called():
    value = "/tmp/it's a 'folder' $HOME"
    lines = environment.shell_lines({"A": value, "PATH": "/own bin"})
    shown = subprocess.run(
        ["sh", "-c", f'{lines}\nprintf "%s\\n%s" "$A" "$PATH"'],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin"},
    ).stdout
    assert shown == f"{value}\n/own bin:/usr/bin:/bin"


def test_two_checkouts_do_not_build_the_same_thing_at_once(tmp_path):
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom host.locks import only_one\n"
        "with only_one(Path(sys.argv[1])):\n    print('in', flush=True)\n    time.sleep(30)\n"
    )
    lock = str(tmp_path / "lock")
    first = subprocess.Popen([sys.executable, "-c", script, lock], stdout=subprocess.PIPE)
    assert first.stdout.readline() == b"in\n"
    second = subprocess.Popen(
        [sys.executable, "-c", script, lock], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert lock in second.stderr.readline().decode()
    time.sleep(0.5)
    os.set_blocking(second.stdout.fileno(), False)
    assert not second.stdout.read(), "the second waits for the first"
    first.kill()
    os.set_blocking(second.stdout.fileno(), True)
    assert second.stdout.readline() == b"in\n"
    for process in (first, second):
        process.kill()
        process.communicate()


def test_a_run_that_waited_for_a_removed_lock_takes_the_new_one(tmp_path, monkeypatch):
    """Such as a set-up that waits for the end of a `make clean`."""
    lock = tmp_path / "work" / "lock"
    waits = threading.Event()
    monkeypatch.setattr(locks, "say", lambda _: waits.set())
    entered, leave = threading.Event(), threading.Event()

    def second():
        with locks.only_one(lock):
            entered.set()
            leave.wait(60)

    waiting = threading.Thread(target=second)
    with locks.only_one(lock):
        waiting.start()
        assert waits.wait(60)
        lock.unlink()
        lock.parent.rmdir()
    assert entered.wait(60)
    try:
        with lock.open("w") as third, pytest.raises(BlockingIOError):
            fcntl.flock(third, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        leave.set()
        waiting.join()


@pytest.mark.parametrize("content", ["", "{", "[]", "5", "{}", '{"pid": 1}'])
def test_a_truncated_record_of_a_dockerd_means_that_none_is_ours(monkeypatch, content):
    docker_engine.STARTED.write_text(content)
    monkeypatch.setattr(docker_engine.os, "kill", pytest.fail)
    docker_engine.stop_if_ours("use")


@pytest.mark.parametrize("content", ["", "[]", "5", '{"current": null}', "{"])
def test_a_truncated_login_is_not_a_login(tmp_path, monkeypatch, content):
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path))
    (tmp_path / "credentials.json").write_text(content)
    assert pulumi_backend.backend() is None


@pytest.fixture
def checkout_with(tmp_path, monkeypatch):
    """A checkout with this as the state of a stack; the working folder may be removed."""
    work = tmp_path / ".work"
    monkeypatch.setattr(toolchain, "STATE", work / "state")
    monkeypatch.setattr(toolchain, "DEMO_STATE", work / "demo" / "state")
    monkeypatch.setattr(toolchain, "WORK", work)
    monkeypatch.setattr(toolchain, "LOCK", work / "set-up.lock")
    monkeypatch.setattr(toolchain, "VENV", Path(sys.prefix))
    monkeypatch.setattr(docker_engine, "STARTED", work / "dockerd.json")

    def make(content, below="state"):
        state = work / below / ".pulumi" / "stacks" / "talos-cache" / "mine.json"
        state.parent.mkdir(parents=True)
        state.write_text(content)
        return state

    return make


@pytest.mark.parametrize("content", ["", '{"version":3,"checkp', "[]", '{"checkpoint": 5}'])
def test_clean_keeps_a_state_that_can_not_be_read(checkout_with, content):
    state = checkout_with(content)
    with pytest.raises(errors.SetupError, match="can't be read") as caught:
        toolchain.clean()
    assert f"{state}.bak" in str(caught.value)
    assert state.exists()


@pytest.mark.parametrize(
    "content",
    ["null", "{}", '{"version":3,"checkpoint":{}}', '{"checkpoint":{"latest":null}}'],
)
def test_clean_removes_a_state_that_never_had_anything(checkout_with, content):
    state = checkout_with(content)
    toolchain.clean()
    assert not state.exists()


UP = '{"checkpoint": {"latest": {"resources": [{}]}}}'
COMPRESSED = {
    ".json": bytes,
    ".json.gz": gzip.compress,
    ".json.zst": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("ending", COMPRESSED)
def test_clean_reads_every_state_however_it_is_compressed(checkout_with, ending):
    first = checkout_with(UP)
    first.unlink()
    state = first.with_name(f"mine{ending}")
    state.write_bytes(COMPRESSED[ending](UP.encode()))
    with pytest.raises(errors.SetupError, match="'mine' is up: make down STACK=mine"):
        toolchain.clean()
    assert state.exists()
    state.write_bytes(COMPRESSED[ending](b'{"checkpoint": {"latest": {"resources": []}}}'))
    toolchain.clean()
    assert not toolchain.WORK.exists()


def test_clean_finds_a_stack_in_the_engines_old_layout(checkout_with):
    in_project = checkout_with(UP)
    state = in_project.rename(in_project.parent.parent / "mine.json")
    with pytest.raises(errors.SetupError, match="'mine' is up"):
        toolchain.clean()
    assert state.exists()


@pytest.mark.parametrize("ending", [".json.gz", ".json.zst"])
def test_clean_keeps_a_truncated_compressed_state(checkout_with, ending):
    first = checkout_with(UP)
    state = first.with_name(f"mine{ending}")
    first.rename(state)
    for content in (b"", COMPRESSED[ending](UP.encode())[:-5]):
        state.write_bytes(content)
        with pytest.raises(errors.SetupError, match="can't be read"):
            toolchain.clean()
        assert state.exists()


def test_clean_says_what_it_needs_for_a_state_that_only_the_projects_python_reads(
    checkout_with, monkeypatch, tmp_path
):
    first = checkout_with(UP)
    state = first.with_name("mine.json.zst")
    first.rename(state)
    monkeypatch.setattr(toolchain, "VENV", tmp_path / "none")
    with pytest.raises(errors.SetupError, match=r"zstd.* make setup") as caught:
        toolchain.clean()
    assert ".bak" not in str(caught.value), "nothing is wrong with the state"
    assert state.exists()


def test_clean_keeps_what_a_demo_has_left_up(checkout_with):
    state = checkout_with(UP, "demo/state")
    with pytest.raises(errors.SetupError, match=r"the demo is up .*: make demo"):
        toolchain.clean()
    assert state.exists()
    state.write_text("{}")
    toolchain.clean()
    assert not toolchain.WORK.exists()


def test_clean_keeps_the_record_of_a_dockerd_that_it_leaves_running(checkout_with, monkeypatch):
    checkout_with("{}")
    monkeypatch.setattr(docker_engine, "_containers_running", lambda: 1)
    process = subprocess.Popen(["sleep", "600"])
    try:
        docker_engine._record(process.pid, "use")
        toolchain.clean()
        assert list(toolchain.WORK.iterdir()) == [docker_engine.STARTED]
        monkeypatch.setattr(docker_engine, "_containers_running", lambda: 0)
        toolchain.clean()
        assert process.wait(60) != 0
    finally:
        process.kill()
        process.wait()
    assert not toolchain.WORK.exists()


def test_clean_removes_its_lock_last(checkout_with, monkeypatch):
    checkout_with("{}")
    left = []

    def look(path, **options):
        if path == toolchain.LOCK:
            left.extend(toolchain.WORK.iterdir())
        plain(path, **options)

    plain = Path.unlink
    monkeypatch.setattr(Path, "unlink", look)
    toolchain.clean()
    assert left == [toolchain.LOCK]
    assert not toolchain.WORK.exists()
