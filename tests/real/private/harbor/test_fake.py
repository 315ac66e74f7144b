"""The fake refuses what it does not implement, and what Harbor would refuse."""

import hashlib
import subprocess
import sys

import httpx
import pytest

from host.paths import ROOT
from tests.fakes.harbor import description
from tests.fakes.harbor.api import OPERATIONS
from tests.fakes.harbor.server import NAME
from tests.real.private.harbor.conftest import ADMIN, DOCKER, SHARED

BLOB = f"sha256:{hashlib.sha256(SHARED).hexdigest()}"
APP = "/v2/proxy-quay.io/team/app"
POLICY = {"algorithm": "or", "rules": [], "scope": {}, "trigger": {}}
# What Harbor answers to its administrator, seen on a running one or read in its handlers:
# (status, method, path, and what is sent).
STATUSES = {
    "a blob that it lacks": (404, "HEAD", f"{APP}/blobs/{BLOB}", {}),
    "a blob that it lacks, for it is fetched": (200, "GET", f"{APP}/blobs/{BLOB}", {}),
    "a blob that nobody has": (404, "GET", f"{APP}/blobs/sha256:{'0' * 64}", {}),
    "a manifest that it lacks": (200, "GET", f"{APP}/manifests/v1", {}),
    "a manifest that it lacks, asked first": (200, "HEAD", f"{APP}/manifests/v1", {}),
    "a tag that nobody has": (404, "HEAD", f"{APP}/manifests/v9", {}),
    "the tags": (200, "GET", f"{APP}/tags/list", {}),
    "the catalogue": (200, "GET", "/v2/_catalog", {}),
    "an unknown project's image": (401, "HEAD", "/v2/nothing/app/manifests/v1", {}),
    "a POST to the token service": (405, "POST", "/service/token", {}),
    "an unknown retention": (500, "GET", "/api/v2.0/retentions/999", {}),
    "an unknown retention, changed": (500, "PUT", "/api/v2.0/retentions/999", {"json": POLICY}),
    "an unknown retention, deleted": (400, "DELETE", "/api/v2.0/retentions/999", {}),
    "the retention of an unknown project": (
        400,
        "POST",
        "/api/v2.0/retentions",
        {"json": {**POLICY, "scope": {"level": "project", "ref": 999}}},
    ),
    "a project on an unknown endpoint": (
        500,
        "POST",
        "/api/v2.0/projects",
        {"json": {"project_name": "x", "registry_id": 999}},
    ),
    "an endpoint of an unknown type": (
        500,
        "POST",
        "/api/v2.0/registries",
        {"json": {"name": "x", "type": "nexus", "url": DOCKER}},
    ),
    "an unknown endpoint, deleted": (404, "DELETE", "/api/v2.0/registries/999", {}),
    "an unknown project, deleted": (404, "DELETE", "/api/v2.0/projects/nothing", {}),
    "an unknown artifact": (
        404,
        "GET",
        "/api/v2.0/projects/proxy-quay.io/repositories/team%252Fapp/artifacts/v1",
        {},
    ),
}


@pytest.mark.parametrize(("status", "method", "path", "sent"), STATUSES.values(), ids=STATUSES)
def test_its_table_of_statuses(made, status, method, path, sent):
    answer = httpx.request(method, f"{made.url}{path}", auth=ADMIN, **sent)
    assert answer.status_code == status


@pytest.fixture
def api(double):
    with httpx.Client(base_url=f"{double.url}/api/v2.0", auth=ADMIN, trust_env=False) as client:
        yield client


def said(answer):
    return answer.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/systeminfo"),
        ("POST", "/robots/1"),
        ("GET", "/projects/x/members"),
        ("PUT", "/projects/x/repositories/y"),
    ],
)
def test_what_is_not_implemented_is_501_and_says_who_speaks(api, method, path):
    answer = api.request(method, path)
    assert answer.status_code == 501
    assert f"fake Harbor does not implement {method} {path}" in said(answer)
    assert answer.headers["Server"] == NAME


@pytest.mark.parametrize("path", ["/", "/c/login", "/v2/x/y/referrers/z", "/chartrepo/x"])
def test_nor_is_anything_else_of_harbor(double, path):
    assert httpx.get(f"{double.url}{path}").status_code == 501


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"name": "x", "type": "docker-hub"}, "url in body is required"),
        ({"name": "x", "type": 3, "url": DOCKER}, "body.type must be of type string"),
        (
            {"name": "x", "type": "y", "url": DOCKER, "colour": "red"},
            "body.colour is not described",
        ),
        (["x"], "body must be an object"),
    ],
)
def test_a_request_that_is_not_as_described_is_refused(api, body, why):
    answer = api.post("/registries", json=body)
    assert (answer.status_code, said(answer)) == (422, why)


def test_pages_have_their_limit(api):
    answer = api.get("/registries", params={"page_size": 101})
    assert answer.status_code == 422
    assert said(answer) == "page_size in query should be less than or equal to 100"
    assert api.get("/registries", params={"q": "name=x"}).status_code == 422


def test_pages_tell_of_each_other(api, known):
    for number in range(1, 26):
        known.registries[number] = {
            "id": number,
            "name": f"r{number}",
            "url": DOCKER,
            "type": "docker-hub",
            "credential": {"type": "basic", "access_key": "a", "access_secret": "b"},
        }
    answer = api.get("/registries", params={"page": 2})
    assert [one["id"] for one in answer.json()] == list(range(11, 21))
    assert answer.headers["X-Total-Count"] == "25"
    assert answer.headers["Link"] == (
        '</api/v2.0/registries?page=1&page_size=10>; rel="prev" , '
        '</api/v2.0/registries?page=3&page_size=10>; rel="next"'
    )
    assert answer.json()[0]["credential"]["access_secret"] == "*****"


def test_what_comes_with_a_session_needs_a_token_against_forged_requests(api):
    api.get("/registries")
    answer = api.post("/registries", json={})
    assert (answer.status_code, said(answer)) == (403, "CSRF token not found in request")


def test_a_name_can_be_had_once(double):
    body = {"name": "x", "type": "docker-hub", "url": DOCKER}
    url = f"{double.url}/api/v2.0/registries"
    answers = [httpx.post(url, json=body, auth=ADMIN) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 409]
    assert answers[0].headers["Location"] == "/api/v2.0/registries/1"


def test_a_slash_that_is_encoded_once_is_another_path(api, made):
    url = "/projects/proxy-quay.io/repositories/team{}app/artifacts/v1"
    once, twice = (api.get(url.format(slash)) for slash in ("%2F", "%252F"))
    assert (once.status_code, said(once)) == (404, "path team/app not found")
    assert (twice.status_code, said(twice)) == (404, "repository proxy-quay.io/team/app not found")


def test_the_token_service(double):
    url = f"{double.url}/service/token"
    assert httpx.get(url, params={"service": "another"}).status_code == 400
    assert httpx.get(url, params={"service": "harbor-registry"}).status_code == 401
    scope = {"service": "harbor-registry", "scope": "repository:nothing/x:pull"}
    assert httpx.get(url, params=scope, auth=("admin", "wrong")).json()["token"]
    challenge = httpx.get(f"{double.url}/v2/").headers["Www-Authenticate"]
    assert challenge == f'Bearer realm="{url}",service="harbor-registry"'
    wrong = httpx.get(f"{double.url}/v2/", auth=("admin", "wrong"))
    assert (wrong.status_code, wrong.headers["Www-Authenticate"]) == (401, 'Basic realm="harbor"')
    assert httpx.get(f"{double.url}/v2/", auth=ADMIN).status_code == 200
    scope = {"service": "harbor-registry", "scope": "repository:proxy-quay.io/team/app:pull"}
    for login, status in ((None, 401), (("admin", "wrong"), 401), (ADMIN, 200)):
        given = httpx.get(f"{double.url}/service/token", params=scope, auth=login).json()
        bearer = {"Authorization": f"Bearer {given['token']}"}
        assert httpx.get(f"{double.url}/v2/", headers=bearer).status_code == status


def test_an_unknown_project_has_no_challenge_for_who_has_a_token(made):
    url = f"{made.url}/v2/nothing/app/manifests/v1"
    assert httpx.get(url).headers["Www-Authenticate"].startswith("Bearer realm=")
    asked = httpx.get(url, headers={"Authorization": "Bearer x"})
    assert (asked.status_code, asked.headers["Www-Authenticate"]) == (401, "")


def test_the_catalogue_is_the_administrators(made):
    refused = httpx.get(f"{made.url}/v2/_catalog", auth=("dev", "Developer1"))
    assert (refused.status_code, refused.headers["Www-Authenticate"]) == (
        401,
        'Basic realm="harbor"',
    )


def test_every_described_operation_is_implemented_and_no_other():
    assert set(OPERATIONS) == {one.key for one in description.OPERATIONS}


def test_every_schema_is_used_and_every_used_one_is_there():
    schemas = description.SUBSET["schemas"]
    kinds = [one.body for one in description.OPERATIONS if one.body]
    kinds += [kind for one in description.OPERATIONS for kind in one.answers.values() if kind]
    kinds += [kind for fields in schemas.values() for kind in fields.values()]
    used = {kind.strip("[]{}") for kind in kinds} - set(description.PLAIN)
    assert used == set(schemas)


def test_as_a_program_it_prints_its_url():
    argv = [sys.executable, "-m", "tests.fakes.harbor.server"]
    running = subprocess.Popen(
        argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        url = running.stdout.readline().strip()
        assert httpx.get(f"{url}/api/v2.0/projects").json() == []
    finally:
        running.terminate()
        _, log = running.communicate(timeout=10)
    assert f"{NAME}: " in log
