"""What every command does where it can't go on."""

import docker.errors
import pytest
import requests

from ops import __main__ as ops
from ops import verify
from ops.errors import OpsError
from toolchain import edge


@pytest.fixture
def failing(monkeypatch, capsys):
    """Gives status and stderr of a command that raises this."""

    def run(error):
        def raises(arguments):
            """A double of the command."""
            raise error

        monkeypatch.setattr(verify, "run", raises)
        monkeypatch.setattr("sys.argv", ["ops", "verify", "--stack", "docker"])
        return ops.main(), capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OpsError("the list is empty"), "verify: the list is empty\n"),
        (
            docker.errors.APIError("500 Server Error: no space left on device"),
            "verify: Docker refused or went away: 500 Server Error: no space left on device\n",
        ),
        (
            requests.ConnectionError("Connection aborted"),
            "verify: Docker refused or went away: Connection aborted\n",
        ),
    ],
)
def test_an_error_is_one_line_and_no_traceback(failing, error, said):
    assert failing(error) == (1, said)


def test_ctrl_c_is_no_traceback(failing):
    assert failing(KeyboardInterrupt()) == (130, "verify: interrupted\n")


def test_a_defect_is_not_hidden(failing, tmp_path, monkeypatch):
    monkeypatch.setattr(edge, "ERRORS", tmp_path / "errors")
    status, said = failing(KeyError("parts"))
    (kept,) = (tmp_path / "errors").iterdir()
    assert status == 70
    assert said.startswith("verify: this is a mistake in talos-cache, not in what you did: KeyErr")
    assert f"look through {kept} before" in said
    assert "KeyError: 'parts'" in kept.read_text()
