"""Nothing of what a test sets up for the Pulumi runtime outlives it; what slow tests share."""

import pytest

from ops.cluster import folder
from ops.docker import api


@pytest.fixture(scope="session")
def docker_client():
    return api.connect()


@pytest.fixture(autouse=True)
def no_configuration_from_outside(monkeypatch):
    # The engine hands configuration over in the environment; whoever runs the tests may be in one.
    monkeypatch.delenv("PULUMI_CONFIG", raising=False)
    monkeypatch.delenv("PULUMI_CONFIG_SECRET_KEYS", raising=False)


@pytest.fixture(autouse=True)
def no_stack_is_known_from_another_test(monkeypatch):
    monkeypatch.setattr(folder, "_recorded", {})
