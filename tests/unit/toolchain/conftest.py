"""No test of the set-up touches the dockerd that this checkout's own set-up has started."""

import pytest

from toolchain import docker_engine


@pytest.fixture(autouse=True)
def no_dockerd_is_recorded(tmp_path, monkeypatch):
    """The tests themselves run on it: a test that records or stops it ends them all."""
    monkeypatch.setattr(docker_engine, "STARTED", tmp_path / "dockerd.json")
