"""The caches' certificate, and certificate files."""

import pytest

from plan.caches import tls
from plan.caches.addressing import Addressing
from plan.settings.stack import parse
from tests.unit.plan.shapes import MADE, STACKS, config_of, pem, planned_file, server_certificate


def where(host, *binds):
    return Addressing(bind_addresses=binds, endpoint_host=host)


def settings_of(name):
    return parse(config_of(STACKS / "valid" / f"{name}.yaml"))


def test_a_certificate_has_every_name_of_the_caches():
    bridge = where("172.17.0.1", "127.0.0.1", "172.17.0.1")
    assert tls.names(bridge) == ("172.17.0.1", "127.0.0.1", "localhost"), (
        "nodes use one name, this machine another, and each is there once"
    )
    named = where("caches.lan", "127.0.0.1", "192.168.1.10")
    assert tls.names(named) == ("caches.lan", "127.0.0.1", "localhost", "192.168.1.10")


def test_an_ipv6_address_has_no_brackets_in_a_certificate():
    assert tls.names(where("[fd00::5]", "127.0.0.1", "fd00::5"))[0] == "fd00::5"


def test_a_wildcard_address_is_not_a_name():
    names = tls.names(where("10.5.0.1", "0.0.0.0", "::"))
    assert names == ("10.5.0.1", "127.0.0.1", "localhost")


def test_every_certificate_and_key_file_is_listed_with_its_config_key():
    assert tls.files(settings_of("tls-with-a-given-certificate")) == {
        "certs/cache.pem": "cache.certificate",
        "certs/cache.key": "cache.key",
        "certs/ca.pem": "cache.ca",
    }
    assert tls.files(settings_of("harbor-with-an-admin")) == {"certs/harbor-ca.pem": "harbor.ca"}
    assert tls.files(settings_of("upstream-with-ca-prefix-and-proxy")) == {
        "certs/corporate-ca.pem": "upstreams.docker.io.ca",
        "certs/other-ca.pem": "upstreams.registry.example.com.ca",
    }
    assert tls.files(settings_of("minimal")) == {}


def test_the_users_certificate_is_read_from_the_files():
    given = server_certificate(settings_of("tls-with-a-given-certificate"))
    assert given.certificate == pem("certs/cache.pem")
    assert given.key == "the secret key in certs/cache.key"
    assert given.ca == pem("certs/ca.pem")


def test_a_publicly_trusted_certificate_has_no_ca():
    assert server_certificate(settings_of("tls-with-a-publicly-trusted-certificate")).ca == ""
    plan = planned_file("tls-with-a-publicly-trusted-certificate")
    assert "RegistryTLSConfig" not in plan.outputs["machineConfigPatch"]


def test_a_stack_without_a_certificate_of_the_users_has_none_here():
    assert tls.given(settings_of("tls-with-a-ca-of-its-own"), {}) is None


def test_a_certificates_key_is_in_no_repr():
    assert "secret key" not in repr(MADE), "tracebacks show reprs"


@pytest.mark.parametrize("der", ["0\x82\x03", "", pem("x").replace("CERTIFICATE", "CRL")])
def test_a_file_without_a_certificate_is_refused_with_its_config_key(der):
    settings = settings_of("tls-with-a-given-certificate")
    texts = {"certs/cache.pem": pem("x"), "certs/cache.key": "no certificate", "certs/ca.pem": der}
    (problem,) = tls.problems(settings, texts)
    assert problem.path == "cache.ca (certs/ca.pem)"
    assert "openssl x509" in problem.fix, "most often it is the other format"


def test_a_missing_file_is_not_a_second_problem():
    assert tls.problems(settings_of("tls-with-a-given-certificate"), {}) == ()
