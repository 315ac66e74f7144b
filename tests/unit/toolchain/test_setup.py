"""The set-up's decisions, with the machine's answers given."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from host import errors, pulumi_backend
from host.docker_endpoint import Endpoint
from host.passphrases import PUBLIC_PASSPHRASE, passphrase_file
from host.paths import ROOT
from tests.fakes.programs import program
from toolchain import __main__ as toolchain
from toolchain import debian, engine, environment, go, launchers, plugins, steps

USUAL = Endpoint(url="unix:///var/run/docker.sock")


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


def test_a_go_that_another_process_is_still_installing_is_not_used(
    bare_path, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    version = f"echo go version go{go.GO_PACKAGE.partition('==')[2]} linux/amd64"
    cache = go.user_cache() / go.GO_PACKAGE.replace("==", "-")
    program(cache / "tmpab12" / "package" / "bin", "go", version)
    monkeypatch.setattr(go, "_install", lambda folder: program(folder / "bin", "go", version))
    assert go.ensure() == cache / "package" / "bin" / "go"


def test_a_failing_step_shows_the_command_and_the_end_of_its_output(monkeypatch, tmp_path):
    monkeypatch.setattr(steps, "LOGS", tmp_path)
    with pytest.raises(errors.SetupError, match="42 reasons") as caught:
        steps.run("doing it", ["sh", "-c", "echo $((40 + 2)) reasons; exit 3"])
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
    url = environment.exports("docker", USUAL)["PULUMI_BACKEND_URL"]
    assert url == f"file://{no_login / 'state'}"
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
    url = environment.exports("docker", USUAL)["PULUMI_BACKEND_URL"]
    monkeypatch.setenv("PULUMI_BACKEND_URL", url)
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


@pytest.mark.parametrize("content", ["", "[]", "5", '{"current": null}', "{"])
def test_a_truncated_login_is_not_a_login(tmp_path, monkeypatch, content):
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path))
    (tmp_path / "credentials.json").write_text(content)
    assert pulumi_backend.backend() is None
