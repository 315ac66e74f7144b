"""What is true for any stack file, right or wrong."""

import datetime
import json
import re

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plan.loopback import is_loopback
from plan.outputs import secrets as hidden_outputs
from plan.problems import SettingsError
from plan.settings.credentials import LOGINS
from plan.settings.keys import DEFAULTS
from plan.talos.cluster_transport import environment, secret_input
from plan.talos.create_flags import create_argv
from plan.talos.mirrors import documents_patch, legacy_patch
from plan.talos.talosctl import Place
from plan.talos.versions import Version
from plan.upstreams import DOCKER_IO_ALIASES, KNOWN, slug
from tests.unit.plan.shapes import planned

modestly = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

BEHIND_HARBOR = {"backend": "harbor", "harbor": {"url": "https://harbor.example.com"}}
DOCKER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")

labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
# Numbers may be addresses, and some of them are loopback.
names = st.lists(labels, min_size=1, max_size=4).map(".".join).filter(lambda n: not is_loopback(n))
own_hosts = st.one_of(
    names, st.tuples(names, st.integers(1, 65535)).map(lambda pair: f"{pair[0]}:{pair[1]}")
).filter(lambda host: host not in KNOWN and host not in DOCKER_IO_ALIASES)
flags = st.fixed_dictionaries(
    {}, optional={"skipFallback": st.booleans(), "overridePath": st.booleans()}
)


@st.composite
def upstreams(draw):
    """Any valid value of `upstreams`: built-in ones alone, others with URL and port."""
    known = {host: draw(flags) for host in draw(st.sets(st.sampled_from(sorted(KNOWN))))}
    others = draw(st.lists(own_hosts, max_size=5, unique_by=slug))
    taken = {slug(host) for host in known}
    others = [host for host in others if slug(host) not in taken]
    ports = draw(
        st.lists(st.integers(6000, 65535), min_size=len(others), max_size=len(others), unique=True)
    )
    own = {
        host: draw(flags) | {"remoteUrl": f"https://{host}", "port": port}
        for host, port in zip(others, ports, strict=True)
    }
    return known | own or {"docker.io": {}}


def told(config):
    """The message that a configuration gets; empty for a valid one. Any other exception passes."""
    try:
        planned(config)
    except SettingsError as error:
        return str(error)
    return ""


def ports_of(config):
    return {plan.host: plan.published[0].port for plan in planned({"upstreams": config}).caches}


@modestly
@given(upstreams())
def test_ports_are_unique_and_stay_if_an_upstream_is_removed(config):
    before = ports_of(config)
    assert len(set(before.values())) == len(before)
    for host in config if len(config) > 1 else ():
        rest = {other: value for other, value in config.items() if other != host}
        assert ports_of(rest) == {other: before[other] for other in rest}, (
            "another port would replace a container that is otherwise the same"
        )


@modestly
@given(upstreams(), st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}", fullmatch=True))
def test_names_are_unique_and_valid_for_docker(config, prefix):
    plans = planned({"upstreams": config, "prefix": prefix}).caches
    assert len({plan.name for plan in plans}) == len(plans)
    assert len({plan.slug for plan in plans}) == len(plans)
    assert all(DOCKER_NAME.fullmatch(plan.name) for plan in plans)


@modestly
@given(upstreams(), st.randoms(use_true_random=False))
def test_the_order_in_the_yaml_changes_nothing(config, random):
    hosts = list(config)
    random.shuffle(hosts)
    shuffled = planned({"upstreams": {host: config[host] for host in hosts}})
    assert shuffled.caches == planned({"upstreams": config}).caches
    assert shuffled.outputs == planned({"upstreams": config}).outputs


@modestly
@given(upstreams())
def test_both_patches_parse_back_to_the_same_mirrors(config):
    entries = planned({"upstreams": config}).mirrors
    wanted = {
        entry.host: (entry.url, entry.skip_fallback, entry.override_path) for entry in entries
    }
    documents = {
        document["name"]: (
            document["endpoints"][0]["url"],
            document.get("skipFallback", False),
            document["endpoints"][0].get("overridePath", False),
        )
        for document in yaml.safe_load_all(documents_patch(entries))
    }
    legacy = {
        host: (
            entry["endpoints"][0],
            entry.get("skipFallback", False),
            entry.get("overridePath", False),
        )
        for host, entry in yaml.safe_load(legacy_patch(entries))["machine"]["registries"][
            "mirrors"
        ].items()
    }
    assert documents == legacy == wanted
    asked = {
        host: (value.get("skipFallback", False), value.get("overridePath", False))
        for host, value in config.items()
    }
    assert {host: entry[1:] for host, entry in wanted.items()} == asked


class Huge(int):
    """A number that Python can't print; hypothesis needs a repr for what it draws."""

    __str__ = int.__repr__

    def __repr__(self):
        return "Huge"


HUGE = Huge(16**6000)

# Whatever YAML can contain: keys that are not text, dates, bytes, NaN and huge numbers.
texts = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["docker.io", "https://", "a@b", "0", "1.2.3.4/33", "::1", "http://[", "\ud800"]
    ),
    own_hosts,
)
scalars = st.one_of(
    texts,
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(HUGE),
    st.floats(),
    st.binary(max_size=5),
    st.dates(),
    st.just(datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)),
)
key_parts = sorted({part for key in DEFAULTS for part in key.split(".")} | set(KNOWN) | {"secure"})
keys = st.one_of(
    st.sampled_from(key_parts),
    texts,
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(HUGE),
    st.floats(),
    st.dates(),
    st.tuples(st.integers(), texts),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(keys, inner, max_size=4),
        st.sets(st.integers(), max_size=2),
    ),
    max_leaves=12,
)
top_keys = sorted({key.split(".")[0] for key in DEFAULTS})


@settings(modestly, max_examples=200)
@given(st.one_of(st.dictionaries(st.sampled_from(top_keys), values), values))
def test_whatever_is_wrong_is_reported_and_nothing_else_is_raised(config):
    told(config)


@settings(modestly, max_examples=200)
@given(st.data())
def test_a_wrong_value_of_any_key_is_reported_and_nothing_else_is_raised(data):
    path = data.draw(st.sampled_from(sorted(DEFAULTS)))
    value = data.draw(values)
    for part in reversed(path.split(".")):
        host = data.draw(st.one_of(st.sampled_from(sorted(KNOWN)), own_hosts))
        value = {host if part == "<host>" else part: value}
    told(value)


secrets = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=12).map(
    lambda tail: f"S3cr3t{tail}"
)


@modestly
@given(secrets, values, st.sampled_from(["docker.io", "quay.oi", "index.docker.io"]))
def test_no_message_shows_a_password_of_credentials(secret, wrong, host):
    for credentials in (
        {host: {"username": "alice", "password": secret, "token": secret}},
        {host: {"username": secret, "password": wrong}},
        {host: {"username": wrong, "password": [secret]}},
        {host: secret},
        {host: [secret]},
        [{host: secret}],
        secret,
    ):
        message = told({"credentials": credentials, "addressing": "qemu-bridge", "prefix": "-"})
        assert message, "the wrong prefix was accepted"
        assert "S3cr3t" not in message


@modestly
@given(
    secrets,
    st.sampled_from(["https://", "http://", "", "oci://", "//"]),
    st.sampled_from(["registry.example.com", "[::1", "", "-", "host:99999", "host/path?query"]),
)
def test_no_message_shows_a_password_of_a_url(secret, scheme, host):
    url = f"{scheme}alice:{secret}@{host}"
    entry = {"remoteUrl": url, "port": 6000}
    for config in (
        {"upstreams": {"registry.example.com": entry}},
        {"upstreams": {"docker.io": url}},
        {"upstreams": {url: {}}},
        {"upstreams": {url: entry, "quay.io": {"port": url}}},
        {"upstreams": url},
        {"upstreams": [url]},
        {"addressing": url},
        {"bindAddresses": [url]},
        {"cache": {"image": url}},
        {"cache": url},
        {url: {}},
        {"credentials": {url: {"username": "alice", "password": secret}}},
        {"credentials": {url: {"username": "alice"}}},
    ):
        message = told(config)
        assert message, f"{config} was accepted"
        assert "S3cr3t" not in message


usable_names = st.from_regex(r"U53r[a-z0-9._@-]{0,8}", fullmatch=True)
logins = st.fixed_dictionaries({"username": usable_names, "password": secrets})


@modestly
@given(logins, logins, st.booleans(), st.booleans())
def test_no_secret_of_a_valid_stack_is_in_public_places(cache, upstream, tls, offline):
    plan = planned(
        {
            "cache": {"tls": tls},
            "offline": offline,
            "cacheLogin": cache,
            "credentials": {"docker.io": upstream},
            "cluster": {"patches": [{"machine": {"env": {"TOKEN": upstream["password"]}}}]},
        }
    )
    (made,) = plan.clusters
    assert "S3cr3t" in secret_input(made), "the nodes need it"
    place = Place(program="talosctl", state="state", talosconfig="talosconfig")
    versions = (Version(1, 11, 5), Version(1, 13, 0))
    argv = [create_argv(made.settings, made.mirrors, version, place) for version in versions]
    hidden = hidden_outputs(plan.mirrors)
    outputs = {name: value for name, value in plan.outputs.items() if name not in hidden}
    files = [file.content for cache in plan.caches for file in cache.files if not file.is_secret]
    containers = [(cache.env, cache.name) for cache in plan.caches]
    open_to_all = (environment(made), argv, outputs, files, containers)
    assert "S3cr3t" not in json.dumps(open_to_all)
    assert "U53r" not in json.dumps(open_to_all), "user names are secrets of the stack too"
    reprs = (plan.settings, plan.where, plan.caches, plan.mirrors, plan.clusters)
    assert "S3cr3t" not in repr(reprs), "tracebacks show reprs"


@modestly
@given(secrets, values, st.sampled_from(LOGINS))
def test_no_message_shows_a_password_of_a_login(secret, wrong, login):
    for value in (
        {"username": "alice", "password": secret, "token": secret},
        {"username": secret, "password": wrong},
        {"username": f"{secret}:{secret}", "password": secret * 12},
        {"username": wrong, "password": [secret]},
        secret,
        [secret],
        {secret: secret},
    ):
        for others in ({}, BEHIND_HARBOR, {**BEHIND_HARBOR, "harborAdmin": ["x"]}):
            message = told({"prefix": "-", **others, login: value})
            assert message, "the wrong prefix was accepted"
            assert "S3cr3t" not in message.replace(f"{login}.{secret}", "")


@modestly
@given(
    secrets,
    st.sampled_from(["https://", "http://", "", "socks5://"]),
    st.sampled_from(["proxy.lan:3128", "[::1", "", "-", "host:99999", "host/path?query"]),
)
def test_no_message_shows_a_password_of_the_other_urls(secret, scheme, host):
    url = f"{scheme}alice:{secret}@{host}"
    upstream = {"upstreams": {"docker.io": {}}}
    for config in (
        {"upstreamProxy": {"url": url}},
        {"upstreamProxy": url},
        {"upstreamProxy": {"url": "http://proxy.lan:3128", "noProxy": url}},
        {"upstreamProxy": {"url": "http://proxy.lan:3128", "noProxy": [url]}},
        {**BEHIND_HARBOR, "harbor": {"url": url}},
        {**BEHIND_HARBOR, "harbor": url},
        {**BEHIND_HARBOR, "harbor": {"url": "https://harbor.lan", "ca": url}},
        {**BEHIND_HARBOR, "harbor": {"url": "https://harbor.lan", "projectPrefix": url}},
        {**upstream, "backend": url},
        {"upstreams": {"docker.io": {"pathPrefix": url}}},
        {"upstreams": {"docker.io": {"ca": url}}},
        {"upstreams": {"docker.io": {"credentialsFrom": url}}},
        {"cache": {"tls": True, "certificate": url, "key": url}},
    ):
        message = told(config)
        assert message, f"{config} was accepted"
        assert "S3cr3t" not in message
