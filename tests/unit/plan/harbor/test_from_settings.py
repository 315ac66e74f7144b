"""From settings to what a stack creates in Harbor, and to the mirrors for upstreams behind it."""

import pytest

from plan.harbor import from_settings
from plan.harbor.desired import (
    NAME,
    mirror_url,
    upstream_endpoint,
)
from plan.settings.stack import parse
from tests.unit.plan.shapes import STACKS, certificate_texts, config_of, pem

ROBOT_SECRET = "S3cr3t-of-the-robot"


def settings_of(name):
    return parse(config_of(STACKS / "valid" / f"{name}.yaml"))


def made(settings, stack="mine"):
    texts = certificate_texts(settings)
    plan = from_settings.build(settings, stack, "owner", texts, ROBOT_SECRET)
    return plan, from_settings.mirrors(settings, texts, plan)


def test_a_stack_without_harbor_needs_nothing_there():
    assert made(settings_of("minimal")) == (None, ())


def test_if_the_projects_exist_already_there_are_only_mirrors():
    plan, mirrors = made(settings_of("harbor-made-by-others"))
    assert plan is None
    assert len(mirrors) == 6
    for mirror in mirrors:
        assert mirror.url == f"http://harbor.lan:8080/v2/proxy-{mirror.host}"
        assert mirror.override_path, "the project is in the path"
        assert (mirror.login.username, mirror.login.password) == ("robot$nodes", "hunter2")
        assert mirror.ca == ""


def test_nodes_pull_from_private_projects_with_the_stacks_robot():
    plan, mirrors = made(settings_of("harbor-with-an-admin"))
    assert plan.robot == "robot$talos"
    for mirror in mirrors:
        assert (mirror.login.username, mirror.login.password) == (plan.robot, ROBOT_SECRET)
        assert mirror.ca == pem("certs/harbor-ca.pem").strip()
    assert [mirror.skip_fallback for mirror in mirrors] == [False, True]


def test_anyone_may_pull_from_public_projects_so_there_is_no_robot():
    config = config_of(STACKS / "valid" / "harbor-with-an-admin.yaml")
    harbor = {key: config["harbor"][key] for key in ("url", "quota")}
    settings = parse({**config, "harbor": harbor})
    plan, mirrors = made(settings)
    assert not from_settings.needs_robot(settings)
    assert plan.robot == ""
    assert {mirror.login for mirror in mirrors} == {None}


def test_every_upstream_has_a_project_with_only_its_own_credentials():
    settings = settings_of("harbor-with-an-admin")
    plan, _ = made(settings)
    by_host = {project.host: project for project in plan.projects}
    hub, own = by_host["docker.io"], by_host["registry.example.com"]
    assert (hub.registry_type, hub.remote_url) == upstream_endpoint(
        "docker.io", "https://registry-1.docker.io"
    )
    assert (hub.username, hub.password) == ("alice", "hunter2")
    assert (own.username, own.password) == ("", ""), "credentials stay with their upstream"
    assert own.remote_url == "https://registry.example.com"
    assert (plan.username, plan.password) == ("admin", "hunter3")
    assert (plan.retention_days, plan.quota_bytes, plan.public) == (30, 50 * 2**30, False)
    assert plan.ca_pem == pem("certs/harbor-ca.pem")
    for project in plan.projects:
        assert NAME.fullmatch(project.name), "Harbor would refuse it"
        assert mirror_url(plan.url, project.name).endswith(f"/v2/cache-{project.host}")


def test_projects_with_images_outlive_the_stack_unless_it_says_otherwise():
    config = config_of(STACKS / "valid" / "harbor-with-an-admin.yaml")
    assert made(parse(config))[0].keep_data
    assert not made(parse({**config, "cache": {"onDestroy": "delete"}}))[0].keep_data


@pytest.mark.parametrize(
    ("stack", "robot"),
    [
        ("mine", "robot$talos-cache-mine"),
        ("Team_A.2", "robot$talos-cache-team-a-2"),
        ("...", "robot$talos-cache----"),
    ],
)
def test_the_default_robot_has_the_stacks_name(stack, robot):
    config = config_of(STACKS / "valid" / "harbor-with-an-admin.yaml")
    del config["harbor"]["robot"]
    plan, _ = made(parse(config), stack)
    assert plan.robot == robot


def test_no_repr_shows_a_secret():
    plan, mirrors = made(settings_of("harbor-with-an-admin"))
    for secret in ("hunter2", "hunter3", ROBOT_SECRET):
        assert secret not in repr((plan, mirrors)), "tracebacks show reprs"
