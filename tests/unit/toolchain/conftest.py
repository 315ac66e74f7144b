"""No test of the set-up touches what this checkout's own set-up has started."""

import pytest

from toolchain import docker_engine


@pytest.fixture(autouse=True)
def no_dockerd_is_noted(tmp_path, monkeypatch):
    """The tests themselves run on it: whoever takes a note of it, or stops it, ends them all."""
    monkeypatch.setattr(docker_engine, "STARTED", tmp_path / "dockerd.json")
