"""A stack whose upstreams are behind Harbor: made, used, changed and removed through the program.

Harbor itself is a double (tests/fakes/harbor/server.py), because it can't run here; the engine,
Docker, the local caches and the clients are real. One story, in order.
"""

import json
import random
import time
from pathlib import Path

import httpx
import pytest
import yaml

from demo import images
from demo.client import PullError, pull
from ops.docker import api
from tests.fakes.harbor.api import FailedError, Harbor
from tests.fakes.harbor.server import Server
from tests.real.caches.conftest import IMAGES, PREFIX, embedded
from tests.real.caches.containerd import ctr, hosts_dir, running
from tests.secrets import places_with, secret_set

STACK = "harbor"
NAME = f"{PREFIX}-{STACK}"
PORT = 15195
HELLO = IMAGES[0]
# The same registry is behind every upstream.
INDEX = "quay.io/two-platforms:v1"
# Large beside its manifest, and not to be compressed.
LARGE = images.single("docker.io", "library/large", "1", random.Random(1).randbytes(200_000))
# Nothing has asked Harbor for it yet. Larger than what is under way when one hangs up.
COLD = images.single("docker.io", "library/cold", "1", random.Random(2).randbytes(20_000_000))
# What the double was made with.
ADMIN = ("admin", "Harbor12345")
BEHIND = {"docker.io": {"backend": "harbor"}, "quay.io": {"backend": "harbor"}}


@pytest.fixture(scope="module")
def double(tmp_path_factory, embedded_upstream, docker_client):
    blobs = tmp_path_factory.mktemp("blobs")
    urls = ("https://hub.docker.com", "https://quay.io", "https://gcr.io")
    # 20 s for the platforms of an index in the place of 400.
    harbor = Harbor(blobs, dict.fromkeys(urls, embedded_upstream.local_url), {}, pace=0.05)
    server = Server(harbor, api.bridge_gateway(docker_client)).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def up(double, checkout, embedded_upstream, tmp_path_factory):
    checkout.env["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    checkout.make("stack", STACK, f"NAME={STACK}", "FROM=docker")
    write(checkout, embedded_upstream, double)
    for field, value in zip(("username", "password"), ADMIN, strict=True):
        secret_set(checkout, STACK, f"harborAdmin.{field}", value)
    checkout.make("up", STACK)
    listed = (HELLO.reference, IMAGES[2].reference, INDEX)
    (checkout.path / "images.txt").write_text("\n".join(listed))
    return checkout


def write(checkout, upstream, double, *, behind=BEHIND, on_destroy="delete", **harbor):
    checkout.write_stack(
        STACK,
        prefix=NAME,
        basePort=PORT,
        upstreams={**embedded(upstream, ("ghcr.io",)), **behind},
        cache={"onDestroy": on_destroy},
        harbor={"url": double.url, "public": False, "retentionDays": 30, "quota": "5GiB", **harbor},
    )


def projects(double):
    return {project["name"] for project in double.harbor.projects.values()}


def patch_of(checkout):
    shown = checkout.pulumi(
        *("stack", "output", "--show-secrets", "machineConfigPatch"), stack=STACK
    ).stdout
    return list(yaml.safe_load_all(shown))


def login_of(checkout):
    [document] = [doc for doc in patch_of(checkout) if doc["kind"] == "RegistryAuthConfig"]
    return document["username"], document["password"]


def test_the_stack_makes_what_the_guide_has_clicked_together(up, double):
    assert projects(double) >= {"proxy-docker.io", "proxy-quay.io"}
    assert set(up.containers(STACK)) == {f"{NAME}-ghcr.io"}, "no local cache for the others"
    mirrors = {
        doc["name"]: doc["endpoints"][0]
        for doc in patch_of(up)
        if doc["kind"] == "RegistryMirrorConfig"
    }
    assert mirrors["docker.io"] == {
        "url": f"{double.url}/v2/proxy-docker.io",
        "overridePath": True,
    }
    assert mirrors["ghcr.io"]["url"].endswith(f":{PORT + 4}")


def test_nodes_pull_with_the_robot_and_nobody_pulls_without(up, double):
    endpoint = f"{double.url}/proxy-docker.io"
    creds = ("--src-creds", ":".join(login_of(up)))
    pull(endpoint, HELLO, by_digest=False, options=creds)
    with pytest.raises(PullError):
        pull(endpoint, HELLO, by_digest=False)


def test_containerd_logs_in_and_pulls_by_the_plain_name(up, double, tmp_path):
    mirrors = [("docker.io", f"{double.url}/v2/proxy-docker.io", True)]
    hosts = hosts_dir(tmp_path / "hosts", mirrors)
    with running(tmp_path) as address:
        pull_argv = ("images", "pull", "--hosts-dir", hosts)
        ctr(address, *pull_argv, "--user", ":".join(login_of(up)), HELLO.reference)
        assert ctr(address, "images", "ls", "-q").stdout.split() == [HELLO.reference]


def test_a_second_up_changes_nothing(up):
    assert up.changes(STACK) == set()


def test_doctor_asks_harbor_as_the_nodes_do(up, double):
    well = up.ops("doctor", STACK, env=up.shell_env(STACK))
    assert well.returncode == 0, well.stdout + well.stderr
    assert f"Harbor: answers at {double.url}" in well.stdout
    [robot] = double.harbor.robots.values()
    kept, robot["secret"] = robot["secret"], "An0therSecret"
    sick = up.ops("doctor", STACK, env=up.shell_env(STACK))
    robot["secret"] = kept
    assert sick.returncode == 1
    assert "no longer accepts the robot account" in sick.stdout
    assert f"fix: make up STACK={STACK}" in sick.stdout


def test_status_has_a_row_for_each_upstream_behind_harbor(up, embedded_upstream, double):
    def health():
        caches = json.loads(up.ops("status", STACK, "--json", check=True).stdout)["caches"]
        return {cache["upstream"]: cache["health"] for cache in caches if not cache["container"]}

    assert health() == dict.fromkeys(BEHIND, "Harbor answers")
    write(up, embedded_upstream, double, url=f"{double.url.rpartition(':')[0]}:1")
    try:
        assert health() == dict.fromkeys(BEHIND, "Harbor away")
        text = up.ops("status", STACK, check=True).stdout
    finally:
        write(up, embedded_upstream, double)
    assert text.count("  Harbor away  ") == len(BEHIND)


UPDATED = {("update", "command:local:Command", "harbor-command")}


def removed_by_hand(double, name):
    """As in Harbor's web page."""
    answer = httpx.delete(f"{double.url}/api/v2.0/projects/{name}", auth=ADMIN)
    answer.raise_for_status()


def test_what_was_removed_in_harbor_shows_in_a_preview_and_comes_back(up, double):
    for _ in range(2):
        removed_by_hand(double, "proxy-quay.io")
        double.harbor.requests.clear()
        assert up.changes(STACK) == UPDATED
        assert {method for method, _ in double.harbor.requests} == {"GET"}, "a preview only reads"
        said = up.make("up", STACK)
        assert "the project proxy-quay.io is missing" in said.stdout + said.stderr
        assert "proxy-quay.io" in projects(double)
        assert up.changes(STACK) == set()


def test_a_harbor_that_is_away_is_a_warning_and_no_change(up, double):
    def broken(method, path):
        raise FailedError(503, "UNKNOWN", "out for lunch")

    double.harbor.meanwhile = broken
    try:
        said = up.pulumi("preview", stack=STACK)
        assert up.changes(STACK) == set()
    finally:
        double.harbor.meanwhile = None
    assert (
        "could not check whether Harbor is still as this stack left it" in said.stdout + said.stderr
    )
    assert "out for lunch" in said.stdout + said.stderr


def test_no_secret_stands_anywhere(up):
    found = places_with(up, STACK, (ADMIN[1], login_of(up)[1]))
    assert found.shown == []
    [robot] = Path(up.env["XDG_STATE_HOME"]).glob(f"talos-cache/{STACK}-*/.harbor-robot")
    assert robot.stat().st_mode & 0o777 == 0o600


def test_warm_and_verify_reach_what_is_behind_harbor(up, double):
    env = up.shell_env(STACK)
    warmed = up.ops("warm", STACK, "--images", "images.txt", check=True, env=env).stdout
    assert "1 images" in warmed.split("behind Harbor")[0], "the one with a local cache"
    assert "behind Harbor, 2 images" in warmed
    assert not [path for method, path in double.pulls if method == "GET" and path.endswith("/v1")]
    sent = double.sent_bytes
    verified = up.ops("verify", STACK, "--images", "images.txt", check=True, env=env).stdout
    assert "3 of 3 images are complete" in verified
    assert double.sent_bytes == sent, "verify pulls nothing"
    (up.path / "missing.txt").write_text("quay.io/nobody/has-this:1\n")
    assert up.ops("verify", STACK, "--images", "missing.txt", env=env).returncode == 1


def test_what_is_warm_is_pulled_with_the_upstream_of_harbor_away(up, double, tmp_path):
    reached, double.harbor.upstreams = double.harbor.upstreams, {}
    hosts = hosts_dir(tmp_path / "hosts", [("quay.io", f"{double.url}/v2/proxy-quay.io", True)])
    with running(tmp_path) as address:
        login = ("--user", ":".join(login_of(up)))
        ctr(address, "images", "pull", "--hosts-dir", hosts, *login, INDEX)
    double.harbor.upstreams = reached


def wait_until_listed(double, image):
    """Harbor stores an image later than it sends it."""
    deadline = time.monotonic() + 60
    place = f"repositories/{image.repository.replace('/', '%252F')}/artifacts/{image.tag}"
    url = f"{double.url}/api/v2.0/projects/proxy-{image.host}/{place}"
    while httpx.get(url, auth=ADMIN).status_code != httpx.codes.OK:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def wait_until_stored(checkout, stack):
    """A client has its last byte before the cache has stored it, and asks no upstream again."""
    deadline = time.monotonic() + 30
    while not json.loads(checkout.ops("verify", stack, "--json").stdout)["complete"]:
        assert time.monotonic() < deadline


def test_a_laptops_cache_has_harbor_as_its_upstream(up, double, embedded_upstream):
    """Both at once: what Harbor holds crosses its own link once for each laptop, and no more."""
    laptop = "laptops"
    username, password = login_of(up)
    up.make("stack", laptop, f"NAME={laptop}", "FROM=docker")
    up.write_stack(
        laptop,
        prefix=f"{PREFIX}-{laptop}",
        basePort=PORT + 200,
        upstreams={"docker.io": {"remoteUrl": double.url, "pathPrefix": "proxy-docker.io"}},
        cache={"onDestroy": "delete"},
    )
    for field, value in (("username", username), ("password", password)):
        secret_set(up, laptop, f'credentials["docker.io"].{field}', value)
    up.make("up", laptop)
    embedded_upstream.push(LARGE)
    size = sum(len(blob.content) for blob in LARGE.blobs)
    login = ("--src-creds", f"{username}:{password}")
    pull(f"{double.url}/proxy-docker.io", LARGE, by_digest=False, options=login)
    wait_until_listed(double, LARGE)
    upstream, sent = double.upstream_bytes, double.sent_bytes
    for _ in range(2):
        pull(f"http://127.0.0.1:{PORT + 200}/proxy-docker.io", LARGE, by_digest=False)
        wait_until_stored(up, laptop)
    assert size <= double.sent_bytes - sent < 2 * size, "layers came from Harbor once"
    assert double.upstream_bytes - upstream < size, "and not from the Internet again"
    cold_image_comes_by_warm(up, laptop, double, embedded_upstream)
    assert places_with(up, laptop, (password,)).shown == []
    up.make("down", laptop)


def cold_image_comes_by_warm(up, laptop, double, embedded_upstream):
    """Harbor tells a cache that what it would have to fetch is not there."""
    embedded_upstream.push(COLD)
    size = sum(len(blob.content) for blob in COLD.blobs)
    said = up.make("preview", laptop)
    assert "docker.io: if pathPrefix leads to a proxy cache" in said.stdout + said.stderr
    with pytest.raises(PullError):
        pull(f"http://127.0.0.1:{PORT + 200}/proxy-docker.io", COLD, by_digest=False)
    (up.path / "cold.txt").write_text(f"{COLD.reference}\n")
    sent = double.sent_bytes
    words = ("--images", "cold.txt", "--json")
    warmed = json.loads(up.ops("warm", laptop, *words, check=True, env=up.shell_env(laptop)).stdout)
    assert (warmed["complete"], warmed["fetched"]) == (True, 1)
    assert double.sent_bytes - sent < 1.5 * size, "it was not sent here to be thrown away"


def test_a_wrong_login_for_projects_of_others_is_named_with_its_key(up, double):
    other = "others"
    username, password = login_of(up)
    up.make("stack", other, f"NAME={other}", "FROM=docker")
    up.write_stack(
        other,
        prefix=f"{PREFIX}-{other}",
        basePort=PORT + 300,
        upstreams=BEHIND,
        harbor={"url": double.url},
    )
    secret_set(up, other, "harborLogin.username", username)
    secret_set(up, other, "harborLogin.password", "Wr0ng-for-a-test")
    said = up.make("up", other, check=False)
    assert said.returncode != 0
    shown = said.stdout + said.stderr
    assert "does not accept harborLogin" in shown
    assert "pulumi config set --secret --path 'harborLogin.username'" in shown
    assert "Wr0ng-for-a-test" not in shown
    looked = up.ops("doctor", other, env=up.shell_env(other))
    assert (looked.returncode, "does not accept harborLogin" in looked.stdout) == (1, True)
    secret_set(up, other, "harborLogin.password", password)
    up.make("up", other)
    assert up.ops("doctor", other, env=up.shell_env(other)).returncode == 0
    for key in ("username", "password"):
        up.pulumi("config", "rm", "--path", f"harborLogin.{key}", stack=other)
    without = up.make("up", other, check=False)
    shown = without.stdout + without.stderr
    assert "plain text" not in shown
    assert "is private, or does not exist" in shown, shown
    up.make("down", other)


def test_what_was_kept_is_the_stacks_own_until_it_may_go(up, embedded_upstream, double):
    def of(on_destroy, **upstreams):
        write(up, embedded_upstream, double, behind=upstreams, on_destroy=on_destroy)
        return up.make("up", STACK)

    of("keep", **BEHIND)
    quay = {"quay.io": BEHIND["quay.io"]}
    kept = "the project proxy-docker.io contains images, which are kept"
    for quota in ("6GiB", "7GiB"):
        write(up, embedded_upstream, double, behind=quay, on_destroy="keep", quota=quota)
        said = up.pulumi("up", "--yes", "--skip-preview", stack=STACK)
        assert kept in said.stdout + said.stderr
        assert "another user" not in said.stdout + said.stderr
        assert "proxy-docker.io" in projects(double)
    of("delete", **quay)
    assert "proxy-docker.io" not in projects(double)
    assert "proxy-docker.io" not in {one["name"] for one in double.harbor.registries.values()}
    of("delete", **BEHIND)


def test_one_upstream_more_behind_harbor_changes_no_container(up, embedded_upstream, double):
    write(up, embedded_upstream, double, behind={**BEHIND, "gcr.io": {"backend": "harbor"}})
    assert up.changes(STACK) == UPDATED
    up.make("up", STACK)
    assert "proxy-gcr.io" in projects(double)


def test_a_project_of_somebody_elses_is_named_and_left_as_it_is(up, embedded_upstream, double):
    write(up, embedded_upstream, double, projectPrefix="lib")
    made = httpx.post(
        f"{double.url}/api/v2.0/projects", json={"project_name": "libdocker.io"}, auth=ADMIN
    )
    assert made.status_code == 201
    said = up.make("up", STACK, check=False)
    assert said.returncode != 0
    assert "libdocker.io" in said.stdout + said.stderr
    httpx.delete(f"{double.url}/api/v2.0/projects/libdocker.io", auth=ADMIN).raise_for_status()
    write(up, embedded_upstream, double)
    up.make("up", STACK)


def test_a_wrong_password_says_so_and_shows_none(up):
    secret_set(up, STACK, "harborAdmin.password", "Wr0ng-for-a-test")
    said = up.make("up", STACK, check=False)
    assert said.returncode != 0
    shown = said.stdout + said.stderr
    assert "Harbor does not accept the user" in shown
    assert "harborAdmin" in shown
    assert "Wr0ng-for-a-test" not in shown
    secret_set(up, STACK, "harborAdmin.password", ADMIN[1])


def test_down_removes_what_this_stack_has_made(up, double):
    up.make("up", STACK)
    up.make("down", STACK)
    assert not {name for name in projects(double) if name.startswith(("proxy-", "lib"))}
    assert not double.harbor.robots
    assert not list(Path(up.env["XDG_STATE_HOME"]).rglob(".harbor-robot"))
