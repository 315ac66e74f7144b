"""What a user is told of a stack that is right as it stands."""

from plan.advice import build
from plan.settings import parse

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
