"""What a user is told of a stack that is right as it stands."""

from plan.advice import build
from plan.settings.stack import parse

LOGIN = {"cacheLogin": {"username": "nodes", "password": "hunter2"}}
TLS = {"cache": {"tls": True}}


def told(config):
    return build(parse(config))


def test_most_stacks_are_told_nothing():
    assert told({}) == told({"cluster": {}}) == told(TLS) == ()


def test_a_login_that_crosses_the_network_unencrypted_is_told():
    (sentence,) = told(LOGIN)
    assert "cache.tls: true" in sentence
    assert "hunter2" not in sentence
    assert told({**LOGIN, **TLS}) == ()


def behind(**options):
    url = "https://harbor.example.com"
    prefix = {"remoteUrl": url, "pathPrefix": "proxy"}
    return {host: {**prefix, **more} for host, more in options.items()}


def test_what_does_not_come_at_once_from_below_a_path_is_told():
    upstreams = behind(**{"docker.io": {}, "ghcr.io": {}, "quay.io": {"skipFallback": True}})
    (sentence,) = told({"upstreams": {**upstreams, "gcr.io": {}}})
    assert sentence.startswith("docker.io, ghcr.io and quay.io: with a proxy cache of Harbor's")
    asked = "nodes ask docker.io and ghcr.io directly and pulls of quay.io fail (skipFallback)"
    assert asked in sentence
    assert "warm has Harbor store it at once" in sentence
    assert told({"upstreams": upstreams, "offline": True}) == ()


def test_it_says_only_what_is_the_case():
    (sentence,) = told({"upstreams": behind(**{"docker.io": {}})})
    assert "until then nodes ask docker.io directly." in sentence
    assert "fail" not in sentence
    (sentence,) = told({"upstreams": behind(**{"docker.io": {"skipFallback": True}})})
    assert "until then pulls of docker.io fail (skipFallback)." in sentence
    assert "directly" not in sentence
