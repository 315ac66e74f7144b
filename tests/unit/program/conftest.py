"""What the program finds outside of itself."""

import pytest

from ops.harbor import access, drift
from ops.registry import readiness
from ops.stack import preflight
from tests.unit.program.outside import Outside


@pytest.fixture
def outside(monkeypatch):
    there = Outside()
    monkeypatch.setattr(preflight, "look", there.look)
    monkeypatch.setattr(preflight, "preflight_errors", there.preflight_errors)
    monkeypatch.setattr(readiness, "not_ready", there.not_ready)
    monkeypatch.setattr(drift, "look", there.look_at_harbor)
    monkeypatch.setattr(access, "report", there.may_pull)
    return there


@pytest.fixture
def state(tmp_path, monkeypatch):
    """The folder for private files of stacks."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path
