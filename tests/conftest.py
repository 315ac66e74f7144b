"""Nothing of what a test sets up for the Pulumi runtime outlives it."""

import pytest


@pytest.fixture(autouse=True)
def no_configuration_from_outside(monkeypatch):
    # The engine hands configuration over in the environment; whoever runs the tests may be in one.
    monkeypatch.delenv("PULUMI_CONFIG", raising=False)
    monkeypatch.delenv("PULUMI_CONFIG_SECRET_KEYS", raising=False)
