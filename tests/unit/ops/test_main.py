"""What every command does if it can't go on."""

import shlex

import docker.errors
import pytest
import requests

from host import entry_point
from host.paths import ROOT
from ops import __main__ as ops
from ops import whose
from ops.commands import arguments, lifecycle, verify, warm
from ops.docker.api import DockerUnavailableError
from ops.engine import cli
from ops.errors import OpsError
from ops.stack import stack_files
from plan.ownership import Recorded
from plan.settings.stack import parse


@pytest.fixture
def failing(monkeypatch, capsys):
    """Gives status and stderr of a command that raises this."""

    def run(error):
        def raises(arguments):
            """A double of the command."""
            raise error

        monkeypatch.setattr(verify, "run", raises)
        monkeypatch.setattr(whose, "refuse_others", lambda stack, names: None)
        monkeypatch.setattr("sys.argv", ["ops", "verify", "--stack", "docker"])
        return ops.main(), capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OpsError("the list is empty"), "verify: the list is empty\n"),
        (
            docker.errors.APIError("500 Server Error: no space left on device"),
            "verify: Docker reported an error: 500 Server Error: no space left on device\n",
        ),
        (
            docker.errors.ImageLoadError("invalid archive"),
            "verify: Docker reported an error: invalid archive\n",
        ),
        (
            requests.ConnectionError("Connection aborted"),
            "verify: Docker stopped answering: Connection aborted\n",
        ),
    ],
)
def test_an_error_is_one_line_and_no_traceback(failing, error, said):
    assert failing(error) == (1, said)


def test_ctrl_c_is_no_traceback(failing):
    assert failing(KeyboardInterrupt()) == (130, "verify: interrupted\n")


def test_a_defect_is_not_hidden(failing, tmp_path, monkeypatch):
    monkeypatch.setattr(entry_point, "ERRORS", tmp_path / "errors")
    status, said = failing(KeyError("parts"))
    (kept,) = (tmp_path / "errors").iterdir()
    assert status == 70
    assert said.startswith("verify: ")
    assert f"through {kept} before" in said
    assert "KeyError: 'parts'" in kept.read_text()


@pytest.fixture
def printed(monkeypatch, capsys):
    """Gives status, stdout and stderr of `outputs` with these arguments."""
    exported = {"patch": "kind: A\n", "caches": {"docker.io": 5000}, "login": lifecycle.SECRET}
    monkeypatch.setattr(cli, "select", lambda stack: None)
    monkeypatch.setattr(cli, "stack_outputs", lambda stack: exported)
    monkeypatch.setattr(stack_files, "path_of", lambda stack: None)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["ops", "outputs", "--stack", "mine", *arguments])
        status = ops.main()
        return status, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["patch"], "kind: A\n"),
        (["patch", "--json"], '{\n  "patch": "kind: A\\n"\n}\n'),
        (["caches"], '{\n  "docker.io": 5000\n}\n'),
        ([], '# patch\nkind: A\n\n# caches\n{\n  "docker.io": 5000\n}\n\n# login\n[secret]\n'),
    ],
)
def test_one_output_is_printed_alone_as_it_is(printed, arguments, text):
    assert printed(*arguments) == (0, text, "")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("path", "patch, caches, login"),
        ("login", "pulumi stack output login --show-secrets --stack mine"),
    ],
)
def test_nothing_is_printed_for_an_output_that_can_not_be_printed(printed, name, said):
    status, out, err = printed(name)
    assert (status, out) == (1, "")
    assert said in err


# What commands need besides a stack.
NEEDED = {
    "prune": ["--to", "1GB"],
    "export": ["f"],
    "import": ["f"],
    "purge": ["docker.io/library/busybox:1"],
}


@pytest.mark.parametrize("command", [*ops.MODULES, *("up", "cluster-down", "outputs", "new-stack")])
def test_every_command_gets_arguments_of_its_own(command):
    more = NEEDED.get(command, [])
    stack = ["--name", "mine"] if command == "new-stack" else ["--stack", "mine"]
    namespace = ops._parser().parse_args([command, *stack, *more])
    read = arguments.read(namespace.kind, namespace)
    assert "mine" in vars(read).values()


def test_the_images_that_a_command_line_names_are_arguments_in_its_arguments():
    line = ["verify", "--stack", "mine", "--images", "a", "--images", "b", "--nodes", "dev"]
    namespace = ops._parser().parse_args(line)
    selection = arguments.read(verify.Arguments, namespace).selection
    assert (selection.lists, selection.running_clusters) == (["a", "b"], ["dev"])


def test_the_caches_of_another_state_are_left_alone_whatever_the_command(monkeypatch, capsys):
    def refuse(stack, names):
        raise OpsError(f"nothing was done: {stack} {len(names)}")

    monkeypatch.setattr(whose, "refuse_others", refuse)
    for command in ops.ON_VOLUMES:
        monkeypatch.setattr(ops.MODULES[command], "run", pytest.fail)
        more = NEEDED.get(command, [])
        monkeypatch.setattr("sys.argv", ["ops", command, "--stack", "docker", *more])
        assert ops.main() == 1
        assert f"{command}: nothing was done: docker 6\n" in capsys.readouterr().err


@pytest.fixture
def down(monkeypatch, capsys):
    """Gives status and stderr of a `down` for which the engine reports success."""
    monkeypatch.setattr(stack_files, "path_of", lambda stack: None)
    monkeypatch.setattr(cli, "select", lambda stack: None)
    monkeypatch.setattr(cli, "run", lambda *_: 0)
    monkeypatch.setattr(lifecycle.recovery, "clear", lambda stack: [])
    monkeypatch.setattr(lifecycle.ledger, "note", lambda stack: None)
    monkeypatch.setattr(whose, "recorded", lambda stack: Recorded())
    monkeypatch.setattr(lifecycle.secret_files, "remove", lambda stack: None)

    def run():
        monkeypatch.setattr("sys.argv", ["ops", "down", "--stack", "mine"])
        return ops.main(), capsys.readouterr().err

    return run


def test_a_down_reports_caches_by_the_names_in_the_stack_file(down, monkeypatch):
    settings = parse({"prefix": "mine", "upstreams": {"docker.io": {}}})
    monkeypatch.setattr(stack_files, "check", lambda stack: settings)
    monkeypatch.setattr(whose, "left_alone", lambda stack, names: [f"left alone: {names}"])
    assert down() == (0, "left alone: ['mine-docker.io']\n")


@pytest.mark.parametrize(
    "error",
    [
        DockerUnavailableError("Docker does not answer"),
        docker.errors.APIError("500 Server Error"),
        requests.ConnectionError("Connection aborted"),
    ],
)
def test_what_goes_wrong_after_a_down_is_a_note_and_not_a_failure(down, monkeypatch, error):
    monkeypatch.setattr(stack_files, "check", lambda stack: parse({}))
    monkeypatch.setattr(whose, "left_alone", raiser(error))
    status, said = down()
    assert status == 0
    assert said.startswith("note: ")
    assert said.endswith(f": {error}\n")
    monkeypatch.setattr(stack_files, "check", raiser(OpsError("not a YAML file")))
    assert down()[0] == 0


def test_a_docker_that_is_away_is_reported_and_the_engine_goes_on(down, monkeypatch):
    """It may have other things to remove, or to report."""
    monkeypatch.setattr(whose, "recorded", lambda stack: Recorded(volumes=frozenset({"mine"})))
    away = DockerUnavailableError("Docker does not answer")
    monkeypatch.setattr(lifecycle.api, "connect", raiser(away))
    monkeypatch.setattr(stack_files, "check", lambda stack: parse({}))
    monkeypatch.setattr(whose, "left_alone", lambda stack, names: [])
    status, said = down()
    assert status == 0
    assert said.endswith(": Docker does not answer\n")


def test_what_the_engine_runs_as_a_part_of_an_up_does_not_look_again(monkeypatch):
    monkeypatch.setattr(whose, "refuse_others", pytest.fail)

    def run(arguments):
        """A double of the command."""
        return 0

    monkeypatch.setattr(warm, "run", run)
    monkeypatch.setenv("TALOS_CACHE_WARM", "{}")
    monkeypatch.setattr("sys.argv", ["ops", "warm", "--stack", "docker"])
    assert ops.main() == 0


@pytest.mark.parametrize("command", ["preview", "verify", "warm", "repair"])
def test_a_wrong_passphrase_is_explained_behind_what_the_engine_said(monkeypatch, capsys, command):
    monkeypatch.setattr(stack_files, "check", raiser(OpsError("incorrect passphrase")))
    monkeypatch.setattr("ops.passphrase.advice", lambda stack: f"bring back that of {stack}")
    monkeypatch.setattr("sys.argv", ["ops", command, "--stack", "mine"])
    assert ops.main() == 1
    assert capsys.readouterr().err == (
        f"{command}: incorrect passphrase\n{command}: bring back that of mine\n"
    )
    monkeypatch.setattr(stack_files, "check", raiser(KeyboardInterrupt()))
    assert ops.main() == 130
    assert capsys.readouterr().err == f"{command}: interrupted\n"


@pytest.mark.parametrize("command", ["adopt", "verify", "warm", "repair"])
def test_no_passphrase_is_blamed_for_what_was_found(monkeypatch, capsys, command):
    def found(arguments):
        """A double of the command: something is not complete."""
        return 1

    monkeypatch.setattr(ops.MODULES[command], "run", found)
    monkeypatch.setattr(ops, "_refuse_others", lambda _: None)
    monkeypatch.setattr("ops.passphrase.advice", pytest.fail)
    monkeypatch.setattr("sys.argv", ["ops", command, "--stack", "mine"])
    assert ops.main() == 1
    assert capsys.readouterr().err == ""


def raiser(error):
    def raises(*_):
        raise error

    return raises


@pytest.mark.parametrize("command", ops.EXAMPLES)
def test_every_command_shows_an_example_that_it_takes(monkeypatch, capsys, command):
    monkeypatch.setattr("sys.argv", ["talos-cache", command, "--help"])
    with pytest.raises(SystemExit):
        ops.program()
    example = capsys.readouterr().out.strip().splitlines()[-1]
    said, program, *arguments = shlex.split(example)
    assert (said, program) == ("example:", "talos-cache")
    monkeypatch.setattr("sys.argv", ["talos-cache", *arguments])
    given = []
    monkeypatch.setattr(ops, "_run", lambda arguments: given.append(arguments.command) or 0)
    assert ops.program() == 0
    assert given == [command]


def test_the_command_that_python_installers_make_is_the_same():
    scripts = (ROOT / "pyproject.toml").read_text().split("[project.scripts]\n")[1]
    name, _, value = scripts.splitlines()[0].partition(" = ")
    module, _, function = value.strip('"').partition(":")
    assert (name, module) == (ops.PROGRAM, "ops.__main__")
    assert getattr(ops, function) is ops.program
