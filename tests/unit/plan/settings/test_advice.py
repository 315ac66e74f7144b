"""What a user should know about a stack without mistakes."""

from plan.advice import build
from plan.settings.stack import parse

LOGIN = {"cacheLogin": {"username": "nodes", "password": "hunter2"}}
TLS = {"cache": {"tls": True}}


def advice(config):
    return build(parse(config))


def test_most_stacks_need_no_advice():
    assert advice({}) == advice({"cluster": {}}) == advice(TLS) == ()


def test_a_login_that_crosses_the_network_unencrypted():
    (sentence,) = advice(LOGIN)
    assert "cache.tls: true" in sentence
    assert "hunter2" not in sentence
    assert advice({**LOGIN, **TLS}) == ()


def behind(**options):
    url = "https://harbor.example.com"
    prefix = {"remoteUrl": url, "pathPrefix": "proxy"}
    return {host: {**prefix, **more} for host, more in options.items()}


def test_images_that_a_harbor_upstream_has_to_store_first():
    upstreams = behind(**{"docker.io": {}, "ghcr.io": {}, "quay.io": {"skipFallback": True}})
    (sentence,) = advice({"upstreams": {**upstreams, "gcr.io": {}}})
    assert sentence.startswith("docker.io, ghcr.io and quay.io: ")
    assert "from docker.io and ghcr.io directly and pulls from quay.io fail" in sentence
    assert "warm" in sentence
    assert advice({"upstreams": upstreams, "offline": True}) == ()


def test_it_says_only_what_is_the_case():
    (sentence,) = advice({"upstreams": behind(**{"docker.io": {}})})
    assert "until then nodes pull from docker.io directly." in sentence
    assert "fail" not in sentence
    (sentence,) = advice({"upstreams": behind(**{"docker.io": {"skipFallback": True}})})
    assert "until then pulls from docker.io fail (skipFallback)." in sentence
    assert "directly" not in sentence
