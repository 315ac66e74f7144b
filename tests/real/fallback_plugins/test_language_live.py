"""The language host under the real engine: configuration, errors, and what the engine learns."""

import json
import sys
from importlib import metadata

import pytest

STORY = "the upstream 'quay' has no port"


def diagnostics(shown):
    """The engine's own summary; while it runs, it shows each message as progress too."""
    return shown.partition("Diagnostics:")[2]


def test_typed_defaults_and_secrets_reach_the_program(project):
    project.write(
        """
        import os, sys
        pulumi.export("count", config.require_int("count"))
        pulumi.export("flags", config.require_object("flags"))
        pulumi.export("word", config.require_secret("word"))
        is_secret = pulumi.runtime.is_config_secret
        pulumi.export("secret", [k for k in ("word", "count") if is_secret(f"fallbacks:{k}")])
        pulumi.export("where", [os.getcwd(), sys.path[0], sys.argv, __name__])
        pulumi.export("names", [pulumi.get_project(), pulumi.get_stack()])
        import helper
        """,
        config="{count: {type: integer, default: 5}, flags: {type: array, "
        "items: {type: string}, default: [a, b]}, word: {type: string}}",
    )
    (project.directory / "helper.py").write_text("")
    project.pulumi("config", "set", "--secret", "word", "hunter2-in-clear")
    shown = project.up()
    assert "hunter2" not in shown
    outputs = project.outputs()
    assert outputs["count"] == 5
    assert outputs["flags"] == ["a", "b"]
    assert outputs["secret"] == ["word"]
    assert outputs["word"] == "hunter2-in-clear"
    here = str(project.directory)
    assert outputs["where"] == [here, here, [f"{here}/__main__.py"], "__main__"]
    assert outputs["names"] == ["fallbacks", "dev"]
    assert "hunter2" not in project.state_file()


def test_config_is_not_visible_in_argv(project):
    project.write("""
        from pathlib import Path
        pulumi.export("argv", Path("/proc/self/cmdline").read_text())
        pulumi.export("environ", Path("/proc/self/environ").read_text())
    """)
    project.pulumi("config", "set", "plain", "seen-nowhere")
    project.up()
    assert "seen-nowhere" not in json.dumps(project.outputs())


@pytest.mark.parametrize(
    "program",
    [
        f'raise pulumi.RunError("{STORY}")',
        f"""
        def fail(_):
            raise pulumi.RunError("{STORY}")
        pulumi.export("x", pulumi.Output.from_input(1).apply(fail))
        """,
        f"""
        def fail(_):
            raise pulumi.RunError("{STORY}")
        pulumi.Output.from_input(1).apply(fail)
        """,
        f"""
        def fail(_):
            raise pulumi.RunError("{STORY}")
        command.local.Command("c", create=pulumi.Output.from_input(1).apply(fail))
        """,
        f"""
        def fail(_):
            raise pulumi.RunError("{STORY}")
        first = command.local.Command("first", create="echo hello")
        command.local.Command("c", create=first.stdout.apply(fail))
        """,
        f"""
        try:
            raise ValueError("detail")
        except ValueError as error:
            raise pulumi.RunError("{STORY}") from error
        """,
    ],
    ids=["top level", "export", "dangling apply", "resource input", "of a resource", "raise from"],
)
def test_a_run_error_is_shown_once_without_a_traceback_and_fails(project, program):
    project.write(program)
    shown = project.up(fails=True)
    assert diagnostics(shown).count(STORY) == 1, shown
    assert "Traceback" not in shown
    assert "__main__.py" not in shown
    assert "Task exception" not in shown


def test_any_other_error_is_shown_with_its_traceback(project):
    project.write("1 / 0")
    shown = project.up(fails=True)
    assert "Traceback" in shown
    assert diagnostics(shown).count("ZeroDivisionError: division by zero") == 1
    assert "1 / 0" in shown
    assert "program.py" not in shown, "the language host's own frames do not help"


def test_what_the_program_prints_reaches_the_user(project):
    project.write("""
        import sys
        print("on stdout")
        print("on stderr", file=sys.stderr)
        pulumi.log.warn("a warning")
    """)
    shown = project.up()
    for line in ("on stdout", "on stderr"):
        assert line in shown
    assert "warning: a warning" in shown, "the engine treats it as a warning"


def test_the_engine_treats_an_error_as_one(project):
    project.write('pulumi.log.error("logged"); raise pulumi.RunError("and this")')
    shown = project.pulumi("up", "--yes", "--skip-preview", "--json", fails=True)
    events = [json.loads(line) for line in shown.splitlines() if line.startswith("{")]
    diagnostics = [event["diagnosticEvent"] for event in events if "diagnosticEvent" in event]
    errors = [event["message"].strip() for event in diagnostics if event["severity"] == "error"]
    assert errors[:2] == ["logged", "and this"]


def test_a_program_that_exits_with_a_code_fails(project):
    project.write("import sys; sys.exit(7)")
    assert "exited with code 7" in project.up(fails=True)


def test_the_engine_learns_which_plugins_in_which_versions(project):
    shown = project.pulumi("about", "--json")
    about = json.loads(shown[shown.index("{") :])
    versions = {plugin["name"]: plugin["version"] for plugin in about["plugins"]}
    assert versions["docker"] == metadata.version("pulumi_docker")
    assert versions["command"] == metadata.version("pulumi_command")
    assert about["runtime"]["executable"] == f"{sys.prefix}/bin/python"


def test_a_virtual_environment_that_is_missing_is_named(project):
    text = (project.directory / "Pulumi.yaml").read_text()
    (project.directory / "Pulumi.yaml").write_text(text.replace(sys.prefix, ".nowhere"))
    shown = project.up(fails=True)
    assert ".nowhere" in shown
    assert "pulumi install" in shown


def test_runtime_options_that_are_not_implemented_are_refused_by_name(project):
    text = (project.directory / "Pulumi.yaml").read_text()
    more = text.replace("virtualenv:", "typechecker: mypy, virtualenv:")
    (project.directory / "Pulumi.yaml").write_text(more)
    assert "runtime option 'typechecker'" in project.up(fails=True)


def test_a_program_is_interrupted_when_a_resource_has_failed(project):
    project.write("""
        import os, signal, time
        from pathlib import Path

        def end(*_):
            Path("interrupted").touch()
            os._exit(32)

        def block(_):
            Path("blocked").touch()
            time.sleep(600)

        signal.signal(signal.SIGINT, end)
        command.local.Command("failing", create="until test -e blocked; do sleep 0.1; done; exit 3")
        command.local.Command("first", create="true").stdout.apply(block)
    """)
    shown = project.up(fails=True)
    assert "exit status 3" in shown
    assert (project.directory / "interrupted").exists()
    assert "Traceback" not in shown
