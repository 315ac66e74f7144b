"""The fallback command plugin under the real engine."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.real.fallback_plugins.conftest import has_traceback_of_a_plugin


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.1)


def alive(pid):
    """Whether the process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2]
    except FileNotFoundError:
        return False
    return not state.startswith("Z")


def command(arguments, log):
    return f"""
        LOG = "{log}"
        made = command.local.Command("c", {arguments})
        pulumi.export("out", made.stdout)
        pulumi.export("err", made.stderr)
    """


@pytest.fixture
def log(tmp_path):
    """A file that commands append to."""
    path = tmp_path / "log"
    path.write_text("")
    return path


def ran(log):
    return log.read_text().split()


def test_create_update_and_delete_follow_the_official_rules(project, log):
    base = 'delete=f"echo delete $X >> {LOG}", environment={"X": "1"}'
    create = 'create=f"echo create $X >> {LOG}; echo out; echo err >&2"'
    project.write(command(f"{create}, {base}", log))
    shown = project.preview()
    assert "+ 1 to create" in shown or "+ 2 to create" in shown
    assert ran(log) == [], "nothing runs in a preview"
    project.up()
    assert ran(log) == ["create", "1"]
    outputs = project.outputs()
    assert (outputs["out"], outputs["err"]) == ("out", "err")
    project.preview("--expect-no-changes")
    assert ran(log) == ["create", "1"]

    changed = base.replace('"1"', '"2"')
    project.write(command(f"{create}, {changed}", log))
    shown = project.preview()
    assert "~ 1 to update" in shown
    project.up()
    assert ran(log)[2:] == ["create", "2"], "without `update`, changed inputs run `create` again"

    update = 'update=f"echo update $X $PULUMI_COMMAND_STDOUT >> {LOG}; echo new"'
    changed = base.replace('"1"', '"3"')
    project.write(command(f"{create}, {update}, {changed}", log))
    project.up()
    assert ran(log)[4:] == ["update", "3", "out"]

    triggered = changed + ", triggers=[1]"
    project.write(command(f"{create}, {update}, {triggered}", log))
    assert "1 to replace" in project.preview()
    project.up()
    assert ran(log)[7:] == ["create", "3", "delete", "3"]

    triggered = triggered.replace("[1]", "[2]").replace('"3"', '"4"')
    project.write(command(f"{create}, {update}, {triggered}", log))
    project.up()
    assert ran(log)[11:] == ["create", "4", "delete", "3"], "delete runs with the old inputs"
    project.pulumi("destroy", "--yes", "--skip-preview")
    assert ran(log)[15:] == ["delete", "4"]


def test_a_change_that_is_ignored_is_no_change_but_a_replacement_gets_it(project, log):
    """The components rely on this for the time that a create may take."""
    steps = ", ".join(f'{step}=f"echo {step} $X >> {{LOG}}"' for step in ("create", "delete"))
    ignored = 'opts=pulumi.ResourceOptions(ignore_changes=["environment.X"])'

    def write(value, trigger):
        inputs = f'environment={{"X": "{value}"}}, triggers=[{trigger}]'
        project.write(command(f"{steps}, {inputs}, {ignored}", log))

    write("old", 1)
    project.up()
    write("new", 1)
    project.preview("--expect-no-changes")
    project.up()
    assert ran(log) == ["create", "old"]
    write("new", 2)
    project.up()
    assert ran(log)[2:] == ["create", "new", "delete", "old"]


def test_only_update_and_delete_get_the_previous_output(project, log):
    see = "echo {} [$PULUMI_COMMAND_STDOUT][$PULUMI_COMMAND_STDERR]"
    arguments = ", ".join(
        f'{step}=f"{see.format(step)} >> {{LOG}}; echo {step}-out; echo {step}-err >&2"'
        for step in ("create", "update", "delete")
    )
    project.write(command(arguments, log))
    project.up()
    project.write(command(arguments + ', environment={"A": "1"}', log))
    project.up()
    project.pulumi("destroy", "--yes", "--skip-preview")
    assert ran(log) == [
        "create",
        "[][]",
        "update",
        "[create-out][create-err]",
        "delete",
        "[update-out][update-err]",
    ]


def test_stdout_is_unknown_in_a_preview_that_would_run_something(project, log):
    program = """
        first = command.local.Command("first", create="echo {words}")
        command.local.Command("second", create="true", environment={{"A": first.stdout}})
    """
    project.write(program.format(words="a"))
    project.up()
    project.write(program.format(words="b"))
    shown = project.preview()
    assert '~ A: "a" => [unknown]' in shown
    assert "~ 2 to update" in shown


def test_interpreter_dir_stdin_and_inherited_environment(project, log, tmp_path):
    project.environment["INHERITED"] = "yes"
    (tmp_path / "elsewhere").mkdir()
    arguments = (
        'interpreter=["/bin/sh", "-ec"], create="cat; pwd; echo $INHERITED", stdin="typed\\n", '
        f'dir="{tmp_path}/elsewhere"'
    )
    project.write(command(arguments, log))
    project.up()
    assert project.outputs()["out"].split() == ["typed", f"{tmp_path}/elsewhere", "yes"]


def test_only_one_newline_is_cut_off(project, log):
    project.write(command("create=\"printf 'a\\\\n\\\\n'\"", log))
    project.up()
    assert project.outputs()["out"] == "a\n"


def test_a_failing_command_fails_the_up_with_its_output_and_is_not_recorded(project, log):
    project.write(command('create="echo printed; exit 3"', log))
    shown = project.up(fails=True)
    assert "exit status 3" in shown
    assert "printed" in shown
    assert not has_traceback_of_a_plugin(shown)
    assert "c" not in project.resources()


def test_secret_inputs_stay_secret_in_the_state(project, log):
    arguments = (
        'create="cat > /dev/null", stdin=config.require_secret("word"), '
        'environment={"P": config.require_secret("word")}'
    )
    project.write(command(arguments, log))
    project.pulumi("config", "set", "--secret", "word", "hunter2-in-clear")
    assert "hunter2" not in project.preview()
    assert "hunter2" not in project.up()
    assert "hunter2" not in project.state_file()


def test_like_the_official_plugin_stdout_is_secret_only_on_request(project, log):
    arguments = 'create="cat", stdin=config.require_secret("word")'
    project.write(command(arguments, log))
    project.pulumi("config", "set", "--secret", "word", "hunter2-in-clear")
    project.up()
    assert "hunter2" in project.state_file()
    secret = 'opts=pulumi.ResourceOptions(additional_secret_outputs=["stdout"])'
    project.write(command(f'{arguments}, {secret}, environment={{"A": "1"}}', log))
    project.up()
    assert "hunter2" not in project.state_file()


def test_an_unimplemented_input_is_refused_by_name(project, log):
    project.write(command('create="true", asset_paths=["*"]', log))
    assert "the property 'assetPaths' of Command" in project.preview(fails=True)


BACKGROUND = 'create=f"sleep 300 >/dev/null 2>&1 & echo $! $$ >> {LOG}; wait"'


@pytest.fixture
def orphans(log):
    """Ends, after the test, whatever its commands have left running."""
    yield
    for pid in map(int, ran(log)):
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.usefixtures("orphans")
def test_a_command_over_its_time_is_killed_but_not_what_it_started(project, log):
    # Long enough for a busy machine to start the command in it.
    options = 'opts=pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(create="15s"))'
    project.write(command(f"{BACKGROUND}, {options}", log))
    assert "signal: killed" in project.up(fails=True)
    child, leader = map(int, ran(log))
    assert not alive(leader)
    assert alive(child), "as with the official plugin: the command must end it itself"


@pytest.mark.usefixtures("orphans")
def test_interrupting_the_engine_kills_the_command(project, log):
    project.write(command(BACKGROUND, log))
    engine = start_up(project)
    wait_for(lambda: len(ran(log)) == 2)
    engine.send_signal(signal.SIGINT)
    engine.wait(60)
    wait_for(lambda: not alive(int(ran(log)[1])))


@pytest.mark.usefixtures("orphans")
def test_plugins_end_when_the_engine_is_killed(project, log):
    project.write(command(BACKGROUND, log))
    engine = start_up(project)
    wait_for(lambda: len(ran(log)) == 2)
    plugins = children_of(engine.pid)
    assert len(plugins) >= 2, "the language host and the command plugin"
    os.kill(engine.pid, signal.SIGKILL)
    engine.wait(10)
    for pid in plugins:
        wait_for(lambda pid=pid: not alive(pid))
    assert all(alive(int(pid)) for pid in ran(log)), "the command must notice it itself"


def start_up(project):
    return subprocess.Popen(
        ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive"],
        cwd=project.directory,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def children_of(pid):
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]
