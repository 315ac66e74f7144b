"""A certificate that the user provides: mistakes in it are reported before it is used."""

import datetime

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ops.tls.user_certificate import Fault, faults

NOW = datetime.datetime.now(datetime.timezone.utc)
NAMES = ("127.0.0.1", "caches.example.com")


def days(number):
    return NOW + datetime.timedelta(days=number)


def pem_of(blobs):
    return "".join(blob.bytes().decode() for blob in blobs)


class Given:
    """Certificate, key and CA, in PEM."""

    def __init__(self, *names, start=-10, end=300, between=False):
        ca = trustme.CA()
        self.ca = ca.cert_pem.bytes().decode()
        issuer = ca.create_child_ca() if between else ca
        made = issuer.issue_cert(*(names or NAMES), not_before=days(start), not_after=days(end))
        self.certificate = pem_of(made.cert_chain_pems)
        self.key = made.private_key_pem.bytes().decode()

    def faults(self, names=NAMES, **instead):
        parts = {"certificate": self.certificate, "key": self.key, "ca": self.ca, **instead}
        return faults(parts["certificate"], parts["key"], parts["ca"], names, NOW)


def self_signed(*, ca=None, usage=None):
    """A self-signed certificate, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "itself")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(days(-1))
        .not_valid_after(days(100))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAMES[1])]), critical=False)
    )
    if ca is not None:
        constraints = x509.BasicConstraints(ca=ca, path_length=None)
        builder = builder.add_extension(constraints, critical=False)
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return builder.sign(key, hashes.SHA256()), key


def text(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def key_text(key, encryption=None):
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        encryption or serialization.NoEncryption(),
    ).decode()


def only(found, part):
    """The only fault, of this part."""
    (fault,) = found
    assert isinstance(fault, Fault)
    assert fault.part == part
    assert fault.fix
    return fault


class TestGood:
    @pytest.mark.parametrize("between", [False, True])
    def test_from_the_ca(self, between):
        given = Given(between=between)
        assert given.certificate.count("BEGIN") == 1 + between
        assert given.faults() == ()

    def test_from_a_ca_that_nodes_already_trust(self):
        assert Given().faults(ca="") == ()

    def test_among_several_cas(self):
        given = Given()
        assert given.faults(ca=Given().ca + given.ca) == ()

    def test_for_everything_below_a_name(self):
        assert Given("*.example.com").faults(names=("caches.example.com", "B.Example.com")) == ()

    def test_self_signed(self):
        certificate, key = self_signed()
        pem = text(certificate)
        assert faults(pem, key_text(key), pem, NAMES[1:], NOW) == ()


class TestBad:
    @pytest.mark.parametrize("pem", ["", "certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
    def test_no_certificate(self, pem):
        assert only(Given().faults(certificate=pem), "certificate").found == "no certificate"

    @pytest.mark.parametrize("pem", ["", "key", "-----BEGIN PRIVATE KEY-----\nAAAA\n"])
    def test_no_key(self, pem):
        assert only(Given().faults(key=pem), "key").found == "not a readable private key"

    def test_certificate_and_key_the_wrong_way_round(self):
        given = Given()
        found = given.faults(certificate=given.key, key=given.certificate)
        assert [fault.part for fault in found] == ["key", "certificate"]
        assert "PRIVATE KEY-----\n" not in str(found), "a key is quoted"

    def test_an_encrypted_key(self):
        certificate, key = self_signed()
        encrypted = key_text(key, serialization.BestAvailableEncryption(b"passphrase"))
        fault = only(faults(text(certificate), encrypted, text(certificate), (), NOW), "key")
        assert fault.found == "an encrypted key"

    def test_the_key_of_another_certificate(self):
        fault = only(Given().faults(key=Given().key), "key")
        assert fault.found == "the key of another certificate"

    def test_a_chain_that_begins_with_the_wrong_certificate(self):
        given = Given(between=True)
        first, second = given.certificate.split("-----END CERTIFICATE-----\n")[:2]
        turned = "".join(f"{one}-----END CERTIFICATE-----\n" for one in (second, first))
        assert {fault.part for fault in given.faults(certificate=turned)} == {"key", "certificate"}

    def test_names_that_are_missing(self):
        fault = only(Given("127.0.0.1", "a.example.com").faults(), "certificate")
        assert "127.0.0.1, a.example.com" in fault.found
        assert fault.rule.endswith("missing: caches.example.com")

    def test_a_wildcard_is_for_one_level_only_and_not_for_addresses(self):
        names = ("example.com", "a.b.example.com", "10.0.0.1")
        fault = only(Given("*.example.com").faults(names=names), "certificate")
        assert fault.rule.endswith("missing: example.com, a.b.example.com, 10.0.0.1")

    @pytest.mark.parametrize(
        ("start", "end", "word"), [(-30, -1, "not expired"), (2, 300, "already valid")]
    )
    def test_not_valid_now(self, start, end, word):
        fault = only(Given(start=start, end=end).faults(), "certificate")
        assert word in fault.rule
        assert not fault.only_warns

    @pytest.mark.parametrize(("end", "warns"), [(29.5, True), (31, False)])
    def test_about_to_expire_only_warns(self, end, warns):
        found = Given(end=end).faults()
        assert [(fault.only_warns, "in 29 days" in fault.rule) for fault in found] == (
            [(True, True)] if warns else []
        )

    def test_not_for_servers(self):
        certificate, key = self_signed(usage=x509.ExtendedKeyUsageOID.CLIENT_AUTH)
        pem = text(certificate)
        fault = only(faults(pem, key_text(key), pem, NAMES[1:], NOW), "certificate")
        assert fault.found == "a certificate that is not for servers"

    def test_no_ca(self):
        assert only(Given().faults(ca="authority"), "ca").found == "no certificate"

    def test_from_another_ca(self):
        fault = only(Given().faults(ca=Given().ca), "ca")
        assert "issued by" in fault.found

    def test_without_the_intermediate_certificate(self):
        given = Given(between=True)
        end = "-----END CERTIFICATE-----\n"
        fault = only(given.faults(certificate=given.certificate.split(end)[0] + end), "ca")
        assert "intermediate" in fault.fix

    def test_an_issuer_that_is_not_a_ca(self):
        issuer, issuer_key = self_signed(ca=False)
        key = ec.generate_private_key(ec.SECP256R1())
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "below")]))
            .issuer_name(issuer.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(days(-1))
            .not_valid_after(days(100))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAMES[1])]), critical=False)
            .sign(issuer_key, hashes.SHA256())
        )
        only(faults(text(made), key_text(key), text(issuer), NAMES[1:], NOW), "ca")

    def test_self_signed_without_being_given_as_the_ca(self):
        certificate, key = self_signed()
        only(faults(text(certificate), key_text(key), "", NAMES[1:], NOW), "ca")

    def test_everything_at_once(self):
        given = Given("a.example.com", start=-30, end=-1)
        found = given.faults(key="", ca=Given().ca)
        assert [fault.part for fault in found] == ["key", "certificate", "certificate", "ca"]
