"""Valid stack files, and what becomes of their keys."""

import pytest

from host.passphrases import PUBLIC_STACKS
from plan.problems import SettingsError
from plan.settings.credentials import LOGINS, MOST_PASSWORD_BYTES, SECRET_KEYS, Credentials
from plan.settings.keys import DEFAULTS, REQUIRED
from plan.settings.stack import decode, parse
from plan.upstreams import KNOWN
from tests.unit.plan.shapes import (
    VALID,
    as_the_engine_hands_it_over,
    config_of,
    planned,
    planned_file,
)


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_a_valid_stack_file_becomes_a_plan(path):
    plan = planned(config_of(path))
    assert plan.caches or plan.settings.behind_harbor


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_the_engine_and_the_file_say_the_same(path):
    config = config_of(path)
    assert planned(decode(as_the_engine_hands_it_over(config))) == planned(config)


def test_there_are_valid_files_of_many_shapes():
    assert len(VALID) >= 12, "the glob found (nearly) nothing: are the files where they were?"


def test_an_empty_stack_gets_the_six_built_in_upstreams():
    settings = planned_file("minimal").settings
    assert {upstream.host for upstream in settings.upstreams} == set(KNOWN)
    assert settings.clusters == (), "without the key there are only caches"


def test_a_key_without_a_value_is_as_if_it_were_not_there():
    nothing = parse({})
    tops = {key.split(".")[0] for key in DEFAULTS}
    assert parse(dict.fromkeys(tops)) == nothing
    assert parse({"cache": dict.fromkeys(["image", "ttl", "onDestroy", "waitSeconds"])}) == nothing


def test_an_empty_cluster_is_the_default_cluster():
    (cluster,) = planned_file("cluster-on-docker").settings.clusters
    assert (cluster.name, cluster.provisioner) == ("talos-default", "docker")


def test_every_default_is_valid_if_a_stack_writes_it_out():
    written = {}
    for key, value in DEFAULTS.items():
        group, _, name = key.rpartition(".")
        if value in (None, REQUIRED) or group == "upstreams.<host>":
            continue
        target = written.setdefault(group, {}) if group else written
        target[name] = list(value) if isinstance(value, tuple) else value
    # What these two groups cannot do without.
    needed = {"upstreamProxy": {"url": "http://proxy.lan:3128"}, "harbor": {"url": "https://h.lan"}}
    for group, keys in needed.items():
        written[group] |= keys
    behind = {"upstreams": {"docker.io": {}, "quay.io": {"backend": "harbor"}}}
    bare = {"cluster": {}, **needed, **behind}
    assert parse(written | behind) == parse(bare), "a default differs from the table"


def test_upstreams_replace_all_six_defaults():
    hosts = {upstream.host for upstream in planned_file("own-upstreams").settings.upstreams}
    assert hosts == {"registry.example.com", "docker.io", "mirror.lan"}


def test_an_upstream_without_a_value_has_its_defaults():
    cache = planned_file("upstream-without-a-value").cache("docker.io")
    assert cache.remote_url == "https://registry-1.docker.io"


def test_credentials_are_those_of_one_upstream():
    credentials = {"docker.io": {"username": "alice", "password": "pw"}}
    settings = parse({"credentials": credentials}, "alice")
    assert settings.credentials_for("docker.io").username == "alice"
    assert settings.credentials_for("quay.io") is None, "the others are pulled from anonymously"


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(SettingsError) as caught:
        parse({"prefix": "-", "basePort": 1, "cache": {"ttl": "x"}, "colour": "red"})
    paths = {problem.path for problem in caught.value.problems}
    assert paths == {"prefix", "basePort", "cache.ttl", "colour"}
    assert str(caught.value).startswith("4 mistakes in the stack's configuration")


def test_a_configuration_must_be_a_mapping():
    with pytest.raises(SettingsError, match="a mapping"):
        parse(["docker.io"])


@pytest.mark.parametrize(
    "config",
    [
        {"upstreams": {"docker.io\n": {}}},
        {"upstreams": {"docker.io": {"remoteUrl": "https://registry-1.docker.io\n"}}},
        {"addressing": "caches.lan\n", "bindAddresses": ["127.0.0.1"]},
        {"prefix": "registry\n"},
        {"cache": {"image": "registry:3.1.2\n"}},
        {"cache": {"ttl": "168h\n"}},
        {"cluster": {"name": "dev\n"}},
        {"cluster": {"talosVersion": "v1.13.0\n"}},
    ],
    ids=str,
)
def test_a_line_break_is_part_of_no_value(config):
    # YAML's `|` leaves one behind; it would end up in an environment variable or a name.
    with pytest.raises(SettingsError):
        parse(config)


def test_a_long_value_is_shown_by_its_start():
    with pytest.raises(SettingsError) as caught:
        parse({"addressing": "-" * 500})
    found = caught.value.problems[0].found
    assert len(found) == 120
    assert found.endswith("...")


def test_a_value_that_no_json_can_show_is_named_by_its_type():
    loop = []
    loop.append(loop)
    with pytest.raises(SettingsError, match=r"a value that can't be shown \(list\)"):
        parse({"upstreams": loop})


def test_a_number_with_thousands_of_digits_is_a_mistake_like_others():
    huge = 16**6000  # YAML reads hexadecimal numbers of any length
    with pytest.raises(SettingsError, match="can't be shown"):
        parse({"basePort": huge})
    with pytest.raises(SettingsError, match="thousands of digits"):
        parse({"upstreams": {huge: {}}})
    with pytest.raises(SettingsError, match="keep, delete"):
        parse({"cache": {"onDestroy": huge}})


@pytest.mark.parametrize(
    "text",
    ["{", "9" * 5000, "[" * 100_000, "not json"],
    ids=["broken", "huge number", "deep", "words"],
)
def test_text_that_is_not_json_stays_as_it_is(text):
    assert decode({"cache": text}) == {"cache": text}


def test_text_keys_are_never_read_as_json():
    assert decode({"prefix": "2024", "basePort": "2024"}) == {"prefix": "2024", "basePort": 2024}


def test_an_image_with_a_digest_is_not_taken_for_a_user_name():
    with pytest.raises(SettingsError) as caught:
        parse({"cache": {"image": "registry:2@sha256:" + "ab" * 32}})
    assert "registry:2@sha256:abab" in caught.value.problems[0].found, "nothing here is secret"


def test_ttl_zero_is_forever_as_text_and_as_number():
    assert parse({"cache": {"ttl": 0}}) == parse({"cache": {"ttl": "0"}}) == parse({})


LOGIN = {"username": "alice", "password": "hunter2"}
BEHIND = {"backend": "harbor", "harbor": {"url": "https://harbor.example.com"}}


@pytest.mark.parametrize(
    ("key", "value", "path"),
    [
        *((login, LOGIN, f"{login}.username") for login in LOGINS),
        ("credentials", {"docker.io": LOGIN}, 'credentials["docker.io"].username'),
    ],
)
def test_a_secret_in_plain_text_is_refused_without_repeating_it(key, value, path):
    upstreams = {"docker.io": {"backend": "local"}, "quay.io": {}}
    raw = {**BEHIND, "upstreams": upstreams, key: value}
    parse(raw)
    with pytest.raises(SettingsError, match="plain text") as caught:
        parse(raw, "mine", plain_secrets={key})
    (problem,) = caught.value.problems
    assert problem.path == key
    assert f"--secret --path '{path}'" in problem.fix
    assert "hunter2" not in str(caught.value)


# As `pulumi config rm --path` leaves a key whose last part it has removed, and the key above it.
@pytest.mark.parametrize(
    "left", [*({key: {}} for key in SECRET_KEYS), {"credentials": {"docker.io": {}}}], ids=str
)
@pytest.mark.parametrize("stack", ["mine", *PUBLIC_STACKS])
def test_what_is_left_of_removed_secrets_is_nothing(stack, left):
    assert parse({**BEHIND, **left}, stack) == parse(BEHIND, stack)


def test_an_upstream_without_credentials_beside_one_that_has_some():
    both = {"docker.io": {}, "quay.io": LOGIN}
    settings = parse({"credentials": both}, "mine")
    assert [host for host, _ in settings.credentials] == ["quay.io"]
    assert parse({"credentials": {"removed.example.com": {}}}, "mine") == parse({}, "mine")


@pytest.mark.parametrize("stack", PUBLIC_STACKS)
@pytest.mark.parametrize(
    ("config", "path"),
    [
        *(({**BEHIND, login: LOGIN}, login) for login in LOGINS),
        *(({**BEHIND, login: {"secure": "v1:abc"}}, login) for login in LOGINS),
        ({"credentials": {"docker.io": LOGIN}}, "credentials"),
        ({"credentials": {"secure": "v1:abc"}}, "credentials"),
        ({"cache": {"tls": True}}, "cache.tls"),
        (
            {"upstreams": {"quay.io": {"credentialsFrom": "docker-config"}}},
            "upstreams.quay.io.credentialsFrom",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_public_stacks_have_no_secret_of_any_kind(stack, config, path):
    assert parse(config, "mine"), "a stack of your own may"
    with pytest.raises(SettingsError, match=f"make stack NAME=mine FROM={stack}") as caught:
        parse(config, stack, public=True)
    assert [problem.path for problem in caught.value.problems] == [path]
    assert "alice" not in str(caught.value)


def test_an_encrypted_login_is_there_but_not_read():
    settings = planned_file("logins-still-encrypted").settings
    for login in (settings.cache_login, settings.harbor.admin):
        assert login.is_encrypted
    assert not Credentials(**LOGIN).is_encrypted


def test_a_password_may_have_exactly_as_many_bytes_as_bcrypt_reads():
    def parsed(password):
        return parse({"cacheLogin": {"username": "nodes", "password": password}})

    assert parsed("x" * MOST_PASSWORD_BYTES).cache_login
    with pytest.raises(SettingsError, match="72"):
        parsed("ü" * 37)  # 37 letters, 74 bytes


def test_half_a_surrogate_pair_is_not_a_password():
    # JSON can contain it, and the engine hands it over; UTF-8 can't.
    with pytest.raises(SettingsError):
        parse({"cacheLogin": {"username": "nodes", "password": "\ud800"}})


def test_the_stacks_backend_applies_to_every_upstream_without_one():
    settings = planned_file("harbor-but-for-one-upstream").settings
    assert [upstream.host for upstream in settings.behind_harbor] == ["docker.io"]
    assert [upstream.host for upstream in settings.cached] == ["quay.io"]


def test_an_upstream_behind_harbor_has_no_port():
    settings = planned_file("harbor-for-some-upstreams").settings
    own = next(u for u in settings.behind_harbor if u.host == "registry.example.com")
    assert (own.port, own.remote_url) == (0, ""), "Harbor knows where it is"
    assert settings.harbor.project("registry.lan:5000") == "proxy-registry.lan-5000"


def test_an_upstream_that_moves_behind_harbor_leaves_its_port_to_others():
    upstreams = {
        "docker.io": {"backend": "harbor"},
        "quay.io": {"backend": "harbor"},
        "ghcr.io": {"port": 5000},
    }
    config = {"harbor": BEHIND["harbor"], "upstreams": upstreams}
    assert planned(config).cache("ghcr.io").published[0].port == 5000


def test_all_keys_of_harbor_are_read():
    harbor = planned_file("harbor-with-an-admin").settings.harbor
    assert (harbor.url, harbor.ca_file) == ("https://harbor.example.com", "certs/harbor-ca.pem")
    assert harbor.project("docker.io") == "cache-docker.io"
    assert (harbor.public, harbor.retention_days, harbor.quota_bytes, harbor.robot) == (
        False,
        30,
        50 * 2**30,
        "robot$talos",
    )
    assert (harbor.admin.username, harbor.login) == ("admin", None)


@pytest.mark.parametrize(
    ("quota", "size"), [("1MiB", 2**20), ("50GiB", 50 * 2**30), ("3TiB", 3 * 2**40)]
)
def test_a_quota_becomes_bytes(quota, size):
    config = {**BEHIND, "harbor": {**BEHIND["harbor"], "quota": quota}, "harborAdmin": LOGIN}
    assert parse(config).harbor.quota_bytes == size


def test_a_slash_at_the_end_of_a_url_is_dropped():
    cache = planned_file("own-upstreams").cache("registry.example.com")
    assert cache.remote_url == "https://registry.example.com", "distribution adds its own path"
    assert planned_file("harbor-made-by-others").settings.harbor.url == "http://harbor.lan:8080"
    proxy = planned_file("upstream-with-ca-prefix-and-proxy").settings.upstream_proxy
    assert proxy.url == "http://proxy.example.com:3128"


@pytest.mark.parametrize(
    "rule",
    [
        "registry.lan",
        "registry.lan:8443",
        ".corp.lan",
        "*.corp.lan",
        "*",
        "10.1.2.3",
        "10.1.2.3:5000",
        "10.0.0.0/8",
        "fd00::7",
        "fd00::/8",
    ],
)
def test_no_proxy_takes_what_go_programs_read(rule):
    proxy = {"url": "http://proxy.lan:3128", "noProxy": [rule]}
    assert parse({"upstreamProxy": proxy}).upstream_proxy.no_proxy == (rule,)
