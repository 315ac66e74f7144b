"""Whether nodes may pull from Harbor: asked of the double as nodes ask, and told by `doctor`."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from host.private_files import private_folder, write_private
from ops.cluster.folder import states_of
from ops.commands import doctor_harbor
from ops.errors import OpsError
from ops.harbor import access, command
from ops.stack import secret_files, stack_files, stack_secrets
from plan.harbor import from_settings
from plan.problems import (
    MASK,
    Problem,
    SettingsError,
)
from plan.settings.credentials import Credentials
from plan.settings.stack import parse
from tests.fakes.web_server import answering

WRONG = {"username": "robot$talos-mine", "password": "Wrong-pass-1"}
EMPTY = Problem(path="harborLogin", found="nothing", rule="text that is not empty", fix="set it")
UPSTREAMS = {"docker.io": {"backend": "harbor"}, "quay.io": {"backend": "harbor"}}


@pytest.fixture(autouse=True)
def not_loopback(monkeypatch):
    """The servers of these tests are there; a stack's never are."""
    monkeypatch.setattr("plan.loopback.is_loopback", lambda _: False)


def asked(settings, plan=None):
    """What asking comes to, with the mirrors that nodes get."""
    mirrors = from_settings.mirrors(settings, {}, plan)
    return access.ask(settings.harbor, mirrors, "mine")


def settings_of(url, login=None, **harbor):
    secrets = {"harborLogin": login} if login else {}
    return parse({"upstreams": UPSTREAMS, "harbor": {"url": url, **harbor}, **secrets})


@pytest.fixture
def projects(plan, client):
    """Two private projects that others have made, and a robot that may pull from them."""
    command.bring_about(client, plan, {})
    return plan


@pytest.fixture
def login(projects):
    return {"username": projects.robot, "password": projects.robot_secret}


def set_public(known, *names):
    for name in names:
        known.project(name)["metadata"]["public"] = "true"


def test_the_right_login_is_no_question(projects, login, double, known):
    upstream = double.upstream_bytes
    assert asked(settings_of(double.url, login)) == access.PullCheck()
    assert double.upstream_bytes == upstream
    assert not any(one.artifacts() for _, one in known.store.listed(1)), "nothing was made to come"


@pytest.mark.parametrize("is_public", [False, True], ids=["private", "public"])
def test_a_wrong_login_is_named_by_its_key(projects, double, known, is_public):
    if is_public:
        set_public(known, "proxy-docker.io", "proxy-quay.io")
    [refusal] = asked(settings_of(double.url, WRONG)).refusals
    assert refusal.text.startswith(f"Harbor at {double.url} does not accept harborLogin")
    assert "pulumi config set --secret --path 'harborLogin.username'" in refusal.fix
    assert "Wrong-pass-1" not in refusal.text + refusal.fix


def test_a_login_that_is_let_into_one_project_only(projects, login, double, known):
    (robot,) = known.robots.values()
    robot["permissions"] = [known.project("proxy-quay.io")["project_id"]]
    [refusal] = asked(settings_of(double.url, login)).refusals
    assert "the user of harborLogin may not pull from the project proxy-docker.io" in refusal.text
    assert "repository:pull" in refusal.fix


def test_projects_of_another_name_are_named_with_the_key(projects, login, double):
    refusals = asked(settings_of(double.url, login, projectPrefix="cache-")).refusals
    assert [one.text.split(" of Harbor")[0].rpartition(" ")[2] for one in refusals] == [
        "cache-docker.io",
        "cache-quay.io",
    ]
    assert all("harbor.projectPrefix" in one.fix for one in refusals)


def test_without_a_login_what_is_private_is_named(projects, double, known):
    set_public(known, "proxy-docker.io")
    [refusal] = asked(settings_of(double.url)).refusals
    assert "the project proxy-quay.io of Harbor" in refusal.text
    assert "is private" in refusal.text
    assert "'harborLogin.username'" in refusal.fix
    set_public(known, "proxy-quay.io")
    assert asked(settings_of(double.url)) == access.PullCheck()


class TestTheStacksOwn:
    """With an administrator's login the stack makes projects, and an account, itself."""

    def settings(self, url, **harbor):
        admin = {"harborAdmin": {"username": "admin", "password": "Harbor12345"}}
        where = {"url": url, "robot": "robot$talos-mine", "public": False, **harbor}
        return parse({"upstreams": UPSTREAMS, "harbor": where, **admin})

    def test_the_robot_may_pull(self, projects, double):
        assert asked(self.settings(double.url), projects) == access.PullCheck()

    def test_a_robot_with_another_secret_is_set_right_by_up(self, projects, double, known):
        (robot,) = known.robots.values()
        robot["secret"] = "An0therSecret"
        [refusal] = asked(self.settings(double.url), projects).refusals
        assert "no longer accepts the robot account robot$talos-mine" in refusal.text
        assert refusal.fix.startswith("make up STACK=mine, ")

    def test_a_public_project_that_is_gone_comes_back_with_up(self, projects, double, known):
        set_public(known, "proxy-docker.io", "proxy-quay.io")
        del known.projects[known.project("proxy-quay.io")["project_id"]]
        settings = self.settings(double.url, public=True, robot=None)
        [refusal] = asked(settings, replace(projects, robot="")).refusals
        assert "nodes may not pull from the project proxy-quay.io" in refusal.text
        assert refusal.fix == "make up STACK=mine"


def test_a_harbor_that_is_not_up_says_nothing_about_a_login():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        warned = []
        settings = settings_of(url, WRONG)
        mirrors = from_settings.mirrors(settings, {}, None)
        assert access.report(settings.harbor, mirrors, warned.append) is None
    [text] = warned
    assert text.startswith(
        f"could not check whether nodes may pull from Harbor: Harbor at {url} does"
    )


def test_a_token_service_elsewhere_gets_no_password(projects, login, double):
    double.realm = "https://elsewhere.test/service/token"
    assert "it names the token service" in asked(settings_of(double.url, login)).unknown


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_sick_harbor_says_nothing_about_a_login(status):
    with answering((status, [], b"")) as server:
        assert f"status {status}" in asked(settings_of(server.url, WRONG)).unknown


@pytest.mark.parametrize("login", [None, WRONG], ids=["nobody", "somebody"])
@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (200, "text/html; charset=utf-8", "a web page"),
        (404, "text/html", "a web page"),
        (401, "text/html", "a web page"),
        (204, "text/plain", "status 204"),
    ],
)
def test_what_is_no_harbor_lets_nobody_pull(status, kind, said, login):
    with answering((status, [("Content-Type", kind)], b"")) as server:
        result = asked(settings_of(server.url, login))
    assert (result.refusals, said in result.unknown) == ((), True), result


def test_a_portal_that_a_harbor_leads_to(monkeypatch):
    def led_to(url):
        with answering((302, [("Location", url)], b"")) as server:
            return asked(settings_of(server.url)).unknown

    with answering((200, [("Content-Type", "text/html")], b"")) as portal:
        assert "a web page" in led_to(portal.url)
    assert "could not check" in led_to("http://a..b/")


def test_as_up_tells_it(projects, double):
    settings, warned = settings_of(double.url, WRONG), []
    mirrors = from_settings.mirrors(settings, {}, None)
    text = access.report(settings.harbor, mirrors, warned.append)
    assert "does not accept harborLogin" in text
    assert "harborLogin.username" in text
    assert warned == []


@pytest.mark.parametrize("robot", ["", "robot$talos-mine"])
def test_an_up_does_not_tell_to_run_up(projects, double, robot):
    harbor = {"url": double.url, "public": not robot, **({"robot": robot} if robot else {})}
    admin = {"username": "admin", "password": "Harbor12345"}
    settings = parse({"upstreams": UPSTREAMS, "harbor": harbor, "harborAdmin": admin})
    plan = replace(projects, robot=robot, robot_secret="An0therSecret")
    mirrors = from_settings.mirrors(settings, {}, plan)
    text = access.report(settings.harbor, mirrors, pytest.fail)
    assert "Harbor's web interface" in text
    assert "make up" not in text


class TestDoctor:
    @pytest.fixture(autouse=True)
    def state(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        monkeypatch.setenv("PULUMI_BACKEND_URL", "file:///nowhere")

    def look(self, settings):
        found = doctor_harbor.examined("mine", settings)
        return [(one.state, one.text, one.fix) for one in found]

    def encrypted(self, monkeypatch, opened):
        """The settings as a stack file has them; decrypting gives these."""
        monkeypatch.setattr(stack_secrets, "settings_of", lambda stack: opened)
        hidden = Credentials(username="", password="")
        return replace(opened, harbor=replace(opened.harbor, login=hidden))

    def test_a_wrong_login_is_a_problem(self, projects, double, monkeypatch):
        settings = self.encrypted(monkeypatch, settings_of(double.url, WRONG))
        first, (state, text, fix) = self.look(settings)
        assert first[0] == "ok"
        assert (state, "does not accept harborLogin" in text) == ("problem", True)
        assert "harborLogin.username" in fix

    def test_the_right_one_is_well(self, projects, login, double, monkeypatch):
        settings = self.encrypted(monkeypatch, settings_of(double.url, login))
        assert [state for state, _, _ in self.look(settings)] == ["ok"]

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (OpsError("incorrect passphrase"), "incorrect passphrase"),
            (SettingsError((EMPTY,)), "rule: text that is not empty"),
        ],
    )
    def test_a_login_that_nobody_can_decrypt_is_a_warning(self, double, monkeypatch, error, said):
        def locked(stack):
            raise error

        settings = self.encrypted(monkeypatch, settings_of(double.url, WRONG))
        monkeypatch.setattr(stack_secrets, "settings_of", locked)
        monkeypatch.setattr("ops.passphrase.advice", lambda stack: f"bring back that of {stack}")
        _, (state, text, fix) = self.look(settings)
        assert (state, said in text) == ("warning", True)
        assert fix == "bring back that of mine"

    def test_the_stacks_own_robot_needs_no_passphrase(self, projects, double, tmp_path):
        encrypted = {"harborAdmin": {"secure": "v1:abc"}}
        harbor = {"url": double.url, "robot": projects.robot, "public": False}
        settings = parse({"upstreams": UPSTREAMS, "harbor": harbor, **encrypted})
        [_, (state, _, fix)] = self.look(settings)
        assert (state, fix) == ("warning", "make up STACK=mine"), "it has not made them yet"
        assert not Path(tmp_path / "state").exists(), "doctor makes nothing"
        for folder in (states_of("mine").parent, states_of("mine")):
            private_folder(folder)
        write_private(states_of("mine") / secret_files.ROBOT, projects.robot_secret)
        assert [one[0] for one in self.look(settings)] == ["ok"]
        write_private(states_of("mine") / secret_files.ROBOT, "An0therSecret")
        assert [one[0] for one in self.look(settings)] == ["ok", "problem"]

    def test_a_harbor_that_is_not_up_is_asked_no_more(self, monkeypatch):
        settings = self.encrypted(monkeypatch, settings_of("http://127.0.0.1:1", WRONG))
        [(state, text, fix)] = self.look(settings)
        assert (state, "harbor.url" in fix) == ("problem", True)
        assert MASK not in text
        assert stack_files.named_files(settings) == {}
