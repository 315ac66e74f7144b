"""One plan per upstream: names, ports, environment, credential helper."""

import hashlib
import json
import subprocess
from dataclasses import replace

import bcrypt
import pytest

from host.paths import ROOT
from plan.caches.cache import of_settings
from plan.caches.cache_plan import CREDENTIAL_HELPER_PATH, credential_helper, in_reported_order
from plan.caches.upstream_watchdog import script
from plan.images.reference import ImageReference
from plan.settings.credentials import Credentials
from plan.settings.stack import parse
from plan.talos.cluster_transport import environment, secret_input
from tests.unit.plan.shapes import GATEWAY, VALID, config_of, pem, planned, planned_file


@pytest.mark.parametrize(
    ("config", "ports"),
    [
        # Those of the Talos guide.
        (
            {},
            {
                "registry-docker.io": 5000,
                "registry-registry.k8s.io": 5001,
                "registry-quay.io": 5002,
                "registry-gcr.io": 5003,
                "registry-ghcr.io": 5004,
                "registry-factory.talos.dev": 5006,
            },
        ),
        # A base port shifts the table, but no explicit port.
        (
            {
                "basePort": 20000,
                "prefix": "other_Stack.1",
                "upstreams": {"docker.io": {"port": 7000}, "quay.io": {}},
            },
            {"other_Stack.1-docker.io": 7000, "other_Stack.1-quay.io": 20002},
        ),
    ],
    ids=["default", "shifted"],
)
def test_names_and_ports(config, ports):
    caches = planned(config).caches
    assert {cache.name: cache.published[0].port for cache in caches} == ports


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


def test_a_caches_endpoint_and_repositories_follow_from_the_stack_file_alone():
    login = {"username": "nodes", "password": "hunter2"}
    upstreams = {"docker.io": {"pathPrefix": "team"}, "quay.io": {}}
    config = {"cache": {"tls": True}, "cacheLogin": login, "upstreams": upstreams}
    caches = of_settings(parse(config))
    assert [(one.host, one.name, one.local_endpoint, one.stored("app")) for one in caches] == [
        ("docker.io", "registry-docker.io", "https://127.0.0.1:5000", "team/app"),
        ("quay.io", "registry-quay.io", "https://127.0.0.1:5002", "app"),
    ]
    stored = [ImageReference(host=one.host, repository=one.stored("app")) for one in caches]
    named = [one.referred(image) for one, image in zip(caches, stored, strict=True)]
    assert [image.repository for image in named] == ["app", "app"]
    assert {one.login.username for one in caches} == {"nodes"}


LOOPBACK, BRIDGE, LAN = "127.0.0.1", GATEWAY, "192.0.2.7"


@pytest.mark.parametrize(
    ("reported", "order"),
    [
        ({}, [LOOPBACK, BRIDGE, LAN]),
        ({"registry-docker.io": []}, [LOOPBACK, BRIDGE, LAN]),
        ({"registry-docker.io": [LAN, BRIDGE, LOOPBACK]}, [LAN, BRIDGE, LOOPBACK]),
        ({"registry-docker.io": [BRIDGE, LOOPBACK]}, [BRIDGE, LOOPBACK, LAN]),
        ({"registry-docker.io": ["192.0.2.99", LAN]}, [LAN, LOOPBACK, BRIDGE]),
        ({"other": [LAN]}, [LOOPBACK, BRIDGE, LAN]),
    ],
    ids=["no-container", "stopped", "reversed", "one-more", "one-less", "other-container"],
)
def test_ports_follow_the_order_that_docker_reports(reported, order):
    plans = planned({"bindAddresses": [BRIDGE, LAN], "upstreams": {"docker.io": {}}}).caches
    for port, expected in ((5000, order), (5999, [LOOPBACK, BRIDGE, LAN])):
        pairs = {name: [(one, port) for one in addresses] for name, addresses in reported.items()}
        [ordered] = in_reported_order(plans, pairs)
        assert [one.address for one in ordered.published] == expected, "of the same port"
        assert {one.port for one in ordered.published} == {5000}


def test_the_registry_starts_through_a_helper_even_without_credentials():
    env = dict(planned_file("minimal").cache("docker.io").env)
    assert env["REGISTRY_PROXY_EXEC_COMMAND"] == CREDENTIAL_HELPER_PATH, (
        "without it, the registry exits if its upstream is away at start-up"
    )
    assert env["REGISTRY_PROXY_REMOTEURL"] == "https://registry-1.docker.io"


@pytest.mark.parametrize("offline", [True, False])
def test_settings_that_differ_between_images_are_set_in_every_cache(offline):
    environment = dict(planned({"offline": offline}).cache("docker.io").env)
    assert environment["REGISTRY_LOG_LEVEL"] == "info"
    purging = json.loads(environment["REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING"])
    # All four: the registry refuses to start if one of them is missing.
    assert purging == {"enabled": True, "age": "168h", "interval": "24h", "dryrun": False}


def test_the_settings_reach_every_cache():
    plan = planned_file("cache-replaced-and-deleted")
    for cache in plan.caches:
        assert dict(cache.env)["REGISTRY_PROXY_TTL"] == "168h"
        assert not cache.keep_data
        assert cache.wait_seconds == 120
        assert cache.image.startswith("registry.example.com:5000/mirror/registry:3.0.0@sha256:")


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("alice", 'it\'s "hunter2" $HOME `id` \\n'),
        ("alice", "TALOS_CACHE_END"),
        ("alice", "two\nlines\nTALOS_CACHE_END\necho stolen"),
        ("ålice", "пароль"),
        # Anonymous.
        ("", ""),
    ],
)
def test_the_helper_passes_on_any_password_as_it_is(username, password, tmp_path):
    login = Credentials(username=username, password=password) if username else None
    helper = tmp_path / "helper"
    helper.write_text(credential_helper(login))
    helper.chmod(0o700)
    done = subprocess.run([helper, "get"], capture_output=True, text=True, check=True, timeout=30)
    answer = json.loads(done.stdout)
    assert (answer["Username"], answer["Secret"]) == (username, password)


def test_credentials_stay_with_their_upstream():
    plan = planned_file("credentials")
    holders = [cache.host for cache in plan.caches if cache.has_credentials]
    assert holders == ["docker.io"]
    assert "hunter2" in plan.cache("docker.io").credential_helper
    assert not [c.host for c in plan.caches if "hunter2" in str(c.env)], (
        "docker inspect shows a container's environment to every user of Docker"
    )


def test_exposing_credentials_takes_an_explicit_yes():
    """The refusals without it are in invalid/credentials-*.txt."""
    assert planned_file("credentials-exposed-on-purpose").cache("docker.io").has_credentials
    upstreams = {"ghcr.io": {"credentialsFrom": "docker-config"}}
    exposed = {"addressing": "qemu-bridge", "exposeToLan": True, "upstreams": upstreams}
    assert planned(exposed).caches


def test_a_cache_without_credentials_may_be_open():
    assert planned_file("exposed-without-credentials").where.warnings, "but with a warning"


CREDENTIALS = {"docker.io": {"username": "alice", "password": "hunter2"}}


def content_of(cache, path):
    (file,) = (file for file in cache.files if file.path == path)
    return file


def test_a_cache_with_tls_has_https_and_the_users_certificate():
    plan = planned_file("tls-with-a-given-certificate")
    for cache in plan.caches:
        assert cache.endpoint.startswith(f"https://{GATEWAY}:")
        assert cache.local_endpoint.startswith("https://127.0.0.1:")
        env = dict(cache.env)
        certificate = content_of(cache, env["REGISTRY_HTTP_TLS_CERTIFICATE"])
        key = content_of(cache, env["REGISTRY_HTTP_TLS_KEY"])
        assert (certificate.content, certificate.is_secret) == (pem("certs/cache.pem"), False)
        assert (key.content, key.is_secret) == ("the secret key in certs/cache.key", True)
        assert cache.ca == pem("certs/ca.pem").strip(), "nodes must trust it"


def test_what_a_stack_does_not_ask_for_is_not_in_its_caches():
    for cache in planned_file("minimal").caches:
        assert (cache.files, cache.ca, cache.login, cache.upstream_proxy) == ((), "", None, None)
        assert cache.endpoint.startswith("http://")
        names = [name for name, _ in cache.env]
        assert not [name for name in names if "TLS" in name or "AUTH" in name]
        assert not [name for name in names if name.endswith("_PROXY")]
        assert cache.keep_data


def test_every_cache_requires_the_login_and_has_it_as_a_hash():
    plan = planned_file("cache-login")
    for cache in plan.caches:
        env = dict(cache.env)
        assert env["REGISTRY_AUTH_HTPASSWD_REALM"], "distribution refuses to start without one"
        passwords = content_of(cache, env["REGISTRY_AUTH_HTPASSWD_PATH"])
        assert passwords.is_secret, "a hash can be attacked offline"
        username, _, hashed = passwords.content.strip().partition(":")
        assert username == "nodes"
        assert bcrypt.checkpw(b"hunter2", hashed.encode())
        assert cache.login == Credentials(username="nodes", password="hunter2")


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_the_same_settings_give_the_same_plan_byte_for_byte(path):
    first, second = planned(config_of(path)), planned(config_of(path))
    assert first.caches == second.caches, "any difference replaces a container"
    assert first.outputs == second.outputs
    for one, other in zip(first.clusters, second.clusters, strict=True):
        assert (environment(one), secret_input(one)) == (environment(other), secret_input(other))


def test_two_stacks_with_one_password_have_two_hashes():
    login = {"username": "nodes", "password": "hunter2"}
    lines = {planned({"cacheLogin": login, "prefix": p}).caches[0].files for p in ("one", "two")}
    assert len(lines) == 2, "guessing one must not reveal that the other is the same"


def test_a_changed_password_changes_only_the_htpasswd_file():
    def cache(password):
        login = {"username": "nodes", "password": password}
        return planned({"cacheLogin": login}).cache("quay.io")

    before, after = cache("hunter2"), cache("hunter3")
    assert before.files != after.files
    assert replace(before, files=(), login=None) == replace(after, files=(), login=None)


def test_the_ca_of_an_upstream_is_trusted_by_its_cache_alone_and_beside_the_usual_ones():
    plan = planned_file("upstream-with-ca-prefix-and-proxy")
    cache = plan.cache("docker.io")
    folders = dict(cache.env)["SSL_CERT_DIR"].split(":")
    (file,) = cache.files
    assert file.path.rpartition("/")[0] == folders[-1]
    assert "/etc/ssl/certs" in folders, "the upstream's token service may have a usual certificate"
    assert (file.content, file.is_secret) == (pem("certs/corporate-ca.pem"), False)
    assert plan.cache("registry.example.com").upstream_ca == pem("certs/other-ca.pem")
    other = plan.cache("quay.io")
    assert "SSL_CERT_DIR" not in dict(other.env)
    assert other.files == ()


def test_a_proxy_is_in_the_environment_of_every_cache():
    for cache in planned_file("upstream-with-ca-prefix-and-proxy").caches:
        env = dict(cache.env)
        assert env["HTTP_PROXY"] == env["HTTPS_PROXY"] == "http://proxy.example.com:3128", (
            "also for an upstream reached without it: its blobs and tokens may be elsewhere"
        )
        assert env["NO_PROXY"] == (
            ".corp.example.com,10.0.0.0/8,fd00::/8,*.lan,direct.example.com:8443"
        )
        assert cache.upstream_proxy.url == env["HTTPS_PROXY"]


def test_what_is_watched_is_what_the_cache_connects_to():
    plan = planned_file("upstream-with-ca-prefix-and-proxy")
    assert plan.cache("quay.io").upstream_watch == script("http://proxy.example.com:3128"), (
        "while the proxy answers, a name that only the proxy can look up is no sign of trouble"
    )
    direct = plan.cache("docker.io").upstream_watch
    at_its_prefix = script("https://harbor.corp.example.com", "proxy-docker.io")
    assert direct == at_its_prefix, "noProxy says so"


def test_a_path_prefix_belongs_to_the_cache_and_not_to_the_upstreams_url():
    cache = planned_file("upstream-with-ca-prefix-and-proxy").cache("registry.example.com")
    assert cache.path_prefix == "team_one/cache"
    assert "\nprefix=team_one/cache\n" in cache.upstream_watch
    assert cache.remote_url == "https://registry.example.com:8443", (
        "distribution drops a path there: the prefix comes with every request of a node"
    )
    assert cache.endpoint == f"http://{GATEWAY}:5010"


FULL = {
    "cache": {"tls": True},
    "cacheLogin": {"username": "nodes", "password": "hunter3"},
    "credentials": CREDENTIALS,
    "upstreamProxy": {"url": "http://proxy.example.com:3128"},
    "upstreams": {"docker.io": {"ca": "@certs/ca.pem", "pathPrefix": "proxy"}},
}


def test_an_offline_cache_is_a_read_only_registry_with_nothing_of_its_upstream():
    offline, online = (
        planned({**FULL, "offline": value}).cache("docker.io") for value in (True, False)
    )
    env = dict(offline.env)
    assert env["REGISTRY_STORAGE_MAINTENANCE_READONLY"] == '{"enabled":true}'
    assert "REGISTRY_STORAGE_MAINTENANCE_READONLY" not in dict(online.env)
    of_upstreams = ("PROXY", "DELETE", "SSL_CERT_DIR")
    assert not [name for name in env if any(word in name for word in of_upstreams)]
    assert {"REGISTRY_HTTP_TLS_KEY", "REGISTRY_AUTH_HTPASSWD_PATH"} <= set(env)
    assert (offline.asks_upstream, online.asks_upstream) == (False, True)
    assert "hunter2" in online.credential_helper
    assert "hunter2" not in offline.credential_helper
    own = {f"/etc/talos-cache/{name}" for name in ("server.pem", "server.key", "htpasswd")}
    assert {file.path for file in offline.files} == own
    assert len({file.path for file in online.files} - own) == 1, "the upstream's CA"
    nothing = {"upstream_ca": "", "upstream_proxy": None, "credentials": None, "upstream_watch": ""}
    for name, empty in nothing.items():
        assert getattr(offline, name) == empty
        assert getattr(online, name)
    differ = {**nothing, "env": (), "files": (), "credential_helper": ""}
    assert replace(offline, **differ) == replace(online, **differ), "the volume above all"


def test_an_upstream_behind_harbor_has_no_cache_here():
    plan = planned_file("harbor-for-some-upstreams")
    assert [cache.host for cache in plan.caches] == ["quay.io"]
    assert planned_file("harbor-made-by-others").caches == ()


def test_no_repr_shows_a_secret():
    plan = planned({**FULL, "cluster": {}})
    for shown in (plan.settings, plan.caches, plan.caches[0].files, plan.mirrors, plan.clusters):
        for secret in ("hunter2", "hunter3", "secret key", "$2b$"):
            assert secret not in repr(shown), "tracebacks show reprs"


def shape_of(name):
    """What the engine would see of a stack, in the form of the file below."""
    plan = planned_file(name)
    return {
        "containers": {
            cache.host: {
                "name": cache.name,
                "image": cache.image,
                "env": dict(cache.env),
                "published": [[port.address, port.port] for port in cache.published],
                "programs": hashlib.sha256(
                    (cache.credential_helper + cache.upstream_watch).encode()
                ).hexdigest(),
            }
            for cache in plan.caches
        },
        "clusters": [{**environment(one), "stdin": secret_input(one)} for one in plan.clusters],
        "outputs": plan.outputs,
    }


BEFORE = json.loads((ROOT / "tests/fixtures/plans_before_tls_and_logins.json").read_text())


@pytest.mark.parametrize("name", BEFORE)
def test_a_stack_without_newer_keys_has_the_plan_of_earlier_versions(name):
    assert shape_of(name) == BEFORE[name], (
        "an upgrade would replace containers, or patch clusters, of users who changed nothing; "
        "if that is intended, say so in CHANGELOG.md and regenerate the file"
    )
    assert not [cache.host for cache in planned_file(name).caches if cache.files]
