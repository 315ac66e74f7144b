"""One plan per upstream: names, ports, environment, credential helper."""

import json
import subprocess

import pytest

from plan.caches import CREDENTIAL_HELPER_PATH, credential_helper
from plan.checks import SettingsError
from plan.settings import Credentials
from tests.plan.shapes import GATEWAY, planned, planned_file


def helper_answer(text, tmp_path):
    """What distribution reads when it runs the helper."""
    helper = tmp_path / "helper"
    helper.write_text(text)
    helper.chmod(0o700)
    done = subprocess.run([helper, "get"], capture_output=True, text=True, check=True, timeout=30)
    return json.loads(done.stdout)


def test_names_and_ports_are_those_of_the_talos_guide():
    plan = planned_file("minimal")
    names = {cache.name: cache.published[0].port for cache in plan.caches}
    assert names == {
        "registry-docker.io": 5000,
        "registry-registry.k8s.io": 5001,
        "registry-quay.io": 5002,
        "registry-gcr.io": 5003,
        "registry-ghcr.io": 5004,
        "registry-factory.talos.dev": 5006,
    }


def test_base_port_shifts_the_table_and_prefix_the_names():
    plan = planned_file("base-port-shifted")
    assert plan.cache("factory.talos.dev").published[0].port == 15006
    assert plan.cache("docker.io").name == "other_Stack.1-docker.io"


def test_base_port_moves_no_explicit_port():
    upstreams = {"docker.io": {"port": 7000}, "quay.io": {}}
    shifted = planned({"basePort": 20000, "upstreams": upstreams})
    assert shifted.cache("docker.io").published[0].port == 7000, "an explicit port is absolute"
    assert shifted.cache("quay.io").published[0].port == 20002


def test_a_colon_becomes_a_dash_in_names_and_stays_in_the_mirror():
    plan = planned_file("upstream-with-a-port")
    (cache,) = plan.caches
    assert (cache.name, cache.slug) == ("registry-registry.lan-5000", "registry-lan-5000")
    assert plan.mirrors[0].host == "registry.lan:5000", "image references keep the colon"


def test_every_cache_is_published_on_every_address():
    cache = planned_file("minimal").cache("quay.io")
    published = [(port.address, port.port) for port in cache.published]
    assert published == [("127.0.0.1", 5002), (GATEWAY, 5002)]
    assert cache.local_endpoint == "http://127.0.0.1:5002"


def test_the_registry_starts_through_a_helper_even_without_credentials():
    env = dict(planned_file("minimal").cache("docker.io").env)
    assert env["REGISTRY_PROXY_EXEC_COMMAND"] == CREDENTIAL_HELPER_PATH, (
        "without it the registry does not survive an upstream that is away when it starts"
    )
    assert env["REGISTRY_PROXY_REMOTEURL"] == "https://registry-1.docker.io"


def test_the_settings_reach_every_cache():
    plan = planned_file("cache-replaced-and-deleted")
    for cache in plan.caches:
        assert dict(cache.env)["REGISTRY_PROXY_TTL"] == "168h"
        assert not cache.keep_data
        assert cache.wait_seconds == 120
        assert cache.image.startswith("registry.example.com:5000/mirror/registry:3.0.0@sha256:")


def test_data_is_kept_unless_the_stack_says_otherwise():
    assert all(cache.keep_data for cache in planned_file("minimal").caches)


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("alice", 'it\'s "hunter2" $HOME `id` \\n'),
        ("alice", "TALOS_CACHE_END"),
        ("alice", "two\nlines\nTALOS_CACHE_END\necho stolen"),
        ("ålice", "пароль"),
    ],
)
def test_the_helper_hands_over_any_password_as_it_is(username, password, tmp_path):
    text = credential_helper(Credentials(username=username, password=password))
    answer = helper_answer(text, tmp_path)
    assert (answer["Username"], answer["Secret"]) == (username, password)


def test_the_helper_without_credentials_means_anonymous(tmp_path):
    answer = helper_answer(credential_helper(None), tmp_path)
    assert (answer["Username"], answer["Secret"]) == ("", "")


def test_credentials_stay_with_their_upstream():
    plan = planned_file("credentials")
    holders = [cache.host for cache in plan.caches if cache.has_credentials]
    assert holders == ["docker.io"]
    assert "hunter2" in plan.cache("docker.io").credential_helper
    assert not [c.host for c in plan.caches if "hunter2" in str(c.env)], (
        "docker inspect shows a container's environment to everyone who may ask Docker"
    )


def test_a_cache_with_credentials_is_not_open_to_the_network():
    credentials = {"ghcr.io": {"username": "bob", "password": "hunter2"}}
    with pytest.raises(SettingsError, match="exposeToLan") as caught:
        planned({"addressing": "qemu-bridge", "credentials": credentials})
    assert [problem.path for problem in caught.value.problems] == ["credentials.ghcr.io"]
    assert "hunter2" not in str(caught.value)


def test_exposing_credentials_takes_an_explicit_yes():
    assert planned_file("credentials-exposed-on-purpose").cache("docker.io").has_credentials


def test_a_cache_without_credentials_may_be_open():
    assert planned_file("exposed-without-credentials").where.warnings, "but it is said"


def test_a_plan_shows_no_password():
    assert "hunter2" not in repr(planned_file("credentials").caches), "tracebacks show reprs"
