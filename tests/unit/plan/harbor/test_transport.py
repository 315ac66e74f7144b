"""A plan for Harbor is passed on to the command that carries it out, secrets apart."""

import json
from dataclasses import replace

from plan.harbor import transport
from tests.unit.plan.harbor.shapes import PLAN, WITH_ROBOT, WITH_USER

WHOLE = replace(WITH_ROBOT, projects=(WITH_USER,), quota_bytes=7, ca_pem="a\nb\n")


def test_the_plan_arrives_unchanged_and_its_secrets_apart():
    public, secret = transport.environment(WHOLE), transport.secret_input(WHOLE)
    assert transport.read(public, secret) == WHOLE
    assert WHOLE.secrets == ("hunter2", "Robot5ecret", "secret")
    for text in (*WHOLE.secrets, "alice"):
        assert text in secret
        assert text not in json.dumps(public)
    assert not any(text in repr(WHOLE) for text in WHOLE.secrets)
    assert "\n" not in secret


def test_what_can_not_change_in_place():
    assert transport.identity(PLAN) == {"url": "https://harbor.test", "owner": "0123456789ab"}
