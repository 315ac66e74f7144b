"""A stack's private files: its certificates, and the password of its robot account in Harbor."""

from datetime import datetime, timedelta, timezone

import pytest

from ops.cluster.folder import states_of
from ops.stack import secret_files
from plan.caches import addressing, tls
from plan.harbor.desired import is_robot_secret
from plan.problems import SettingsError
from plan.settings.stack import parse
from tests.real.private.authority import Authority

STACK = "mine"
FILES = {"certificate": "@cache.pem", "key": "@cache.key", "ca": "@ca.pem"}
GIVEN = parse({"cache": {"tls": True, **FILES}})
MADE = parse({"cache": {"tls": True}})
BEHIND = {"backend": "harbor", "harbor": {"url": "https://harbor.example.com", "public": False}}
ADMIN = {"harborAdmin": {"username": "admin", "password": "hunter2"}}


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PULUMI_BACKEND_URL", "file:///nowhere")
    return tmp_path / "state"


def where(settings):
    return addressing.resolve(settings, "172.17.0.1")


def texts(authority, *names, days=50):
    server = authority.server(*names, days=days)
    return {
        "cache.pem": server.certificate.read_text(),
        "cache.key": server.key.read_text(),
        "ca.pem": authority.pem,
    }


def given(tmp_path, *names, days=50):
    files = texts(Authority(tmp_path / "authority"), *names, days=days)
    return secret_files.server_certificate(STACK, GIVEN, where(GIVEN), files)


@pytest.mark.parametrize(("days", "warns"), [(50, False), (10, True)])
def test_the_users_certificate_is_used_as_it_is_with_a_warning_if_it_expires_soon(
    tmp_path, capsys, days, warns
):
    names = tls.names(where(GIVEN))
    assert given(tmp_path, *names, days=days).key.startswith("-----BEGIN")
    assert ("cache.certificate" in capsys.readouterr().err) == warns


def test_one_for_other_names_is_a_mistake_in_the_stack(tmp_path):
    with pytest.raises(SettingsError) as caught:
        given(tmp_path, "other.example.com")
    [problem, *_] = caught.value.problems
    assert problem.path == "cache.certificate"
    assert "PRIVATE KEY" not in str(caught.value)


def test_what_is_created_here_stays_the_same_and_is_removed_with_the_stack(state):
    one = secret_files.server_certificate(STACK, MADE, where(MADE), {})
    assert secret_files.server_certificate(STACK, MADE, where(MADE), {}) == one
    secret_files.remove(STACK)
    assert not (state / "talos-cache").exists()


def test_a_plan_in_ten_years_has_another_certificate_with_the_same_key(monkeypatch):
    one = secret_files.server_certificate(STACK, MADE, where(MADE), {})
    later = datetime.now(timezone.utc) + timedelta(days=3640)
    monkeypatch.setattr(secret_files, "_now", lambda: later)
    other = secret_files.server_certificate(STACK, MADE, where(MADE), {})
    assert other.key == one.key
    assert other.certificate != one.certificate
    assert other.ca != one.ca


def test_a_stack_without_tls_keeps_no_certificates(state):
    plain = parse({})
    assert secret_files.server_certificate(STACK, plain, where(plain), {}) is None
    assert not state.exists()


def test_a_robots_password_is_created_once_if_one_is_needed(state):
    settings = parse({**BEHIND, **ADMIN})
    secret = secret_files.robot_secret(STACK, settings)
    assert is_robot_secret(secret)
    assert secret_files.robot_secret(STACK, settings) == secret
    assert secret_files.robot_secret("other", settings) != secret
    assert (states_of(STACK) / secret_files.ROBOT).stat().st_mode & 0o777 == 0o600
    secret_files.remove(STACK)
    assert secret_files.robot_secret(STACK, settings) != secret


def test_nodes_without_an_account_of_this_stack_need_none(state):
    public = {**BEHIND, "harbor": {"url": "https://harbor.example.com"}}
    assert secret_files.robot_secret(STACK, parse({**public, **ADMIN})) == ""
    assert secret_files.robot_secret(STACK, parse(public)) == ""
    assert not state.exists()
