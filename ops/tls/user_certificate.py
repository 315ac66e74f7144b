"""Checks the user's own certificate for the caches before anything is created with it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from plan.network import ip_address

CERTIFICATE, KEY, CA = "certificate", "key", "ca"
WARNING_DAYS = 30
_PEM_RULE = "text in PEM, with a line -----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong.

    Attributes:
        part: `certificate`, `key` or `ca`.
        found: in the files; never any part of a key.
        rule: that is broken.
        fix: what to do.
        only_warns: whether the certificate works for now.
    """

    part: str
    found: str
    rule: str
    fix: str
    only_warns: bool = False


def faults(
    certificate_pem: str, key_pem: str, ca_pem: str, names: Sequence[str], now: datetime
) -> tuple[Fault, ...]:
    """Everything that is wrong.

    Args:
        certificate_pem: the caches' certificate, followed by the intermediate certificates.
        key_pem: its key, without a passphrase.
        ca_pem: certificates that the nodes will trust; empty if they trust the issuer already.
        names: IP addresses and host names that the caches are called by.
        now: with its time zone.
    """
    chain, authorities = _certificates(certificate_pem), _certificates(ca_pem)
    problems = list(_of_key(chain, key_pem))
    if not chain:
        fix = "give the file that begins with the caches' own certificate"
        problems.append(Fault(part=CERTIFICATE, found="no certificate", rule=_PEM_RULE, fix=fix))
    if ca_pem and not authorities:
        fix = "give the certificate of the CA, not its key"
        problems.append(Fault(part=CA, found="no certificate", rule=_PEM_RULE, fix=fix))
    if chain:
        problems += _of_names(chain[0], names)
        problems += _of_time(chain[0], now)
        problems += _of_purpose(chain[0])
        if authorities or not ca_pem:
            problems += _of_authority(chain, authorities, now)
    return tuple(problems)


def _certificates(pem: str) -> list[x509.Certificate]:
    """All of them; none if one is damaged."""
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        return []


def _of_key(chain: Sequence[x509.Certificate], pem: str) -> Iterator[Fault]:
    try:
        key = load_pem_private_key(pem.encode(), None)
    except TypeError:
        rule = "a key without a passphrase: the registry can't ask for one"
        fix = "remove the passphrase: openssl pkey -in KEY -out NEW-KEY"
        yield Fault(part=KEY, found="an encrypted key", rule=rule, fix=fix)
        return
    except (ValueError, UnsupportedAlgorithm):
        rule = "a private key in PEM, with a line -----BEGIN PRIVATE KEY-----"
        fix = "give the key that the certificate was issued for"
        yield Fault(part=KEY, found="not a readable private key", rule=rule, fix=fix)
        return
    if chain and key.public_key() != chain[0].public_key():
        rule = "the key of the first certificate in the certificate's file"
        fix = "give a certificate and its key; a chain begins with the caches' own certificate"
        yield Fault(part=KEY, found="the key of another certificate", rule=rule, fix=fix)


def _of_names(certificate: x509.Certificate, names: Sequence[str]) -> Iterator[Fault]:
    certified = _names(certificate)
    missing = [name for name in names if not any(_covers(one, name) for one in certified)]
    if missing:
        yield Fault(
            part=CERTIFICATE,
            found=f"a certificate for {', '.join(certified) or 'no name at all'}",
            rule=f"it covers every name of the caches; missing: {', '.join(missing)}",
            fix="have one issued with these as subject alternative names",
        )


def _names(certificate: x509.Certificate) -> list[str]:
    """Names and addresses; the common name does not count, as for every client of today."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [
        str(name.value)
        for name in extension.value
        if isinstance(name, x509.DNSName | x509.IPAddress)
    ]


def _covers(certified: str, name: str) -> bool:
    if ip_address(name) is not None:
        return certified == str(ip_address(name))
    certified, name = certified.lower(), name.lower()
    is_below = certified.startswith("*.") and certified[2:] == name.partition(".")[2]
    return certified == name or is_below


def _of_time(certificate: x509.Certificate, now: datetime) -> Iterator[Fault]:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    dates = f"valid from {start:%Y-%m-%d} to {end:%Y-%m-%d}"
    fix = "have a new one issued"
    if end < now:
        yield Fault(part=CERTIFICATE, found=dates, rule="it has not expired", fix=fix)
    elif start > now:
        fix = "wait, or correct this machine's clock"
        yield Fault(part=CERTIFICATE, found=dates, rule="it is already valid", fix=fix)
    elif (left := (end - now).days) < WARNING_DAYS:
        rule = f"it expires in {left} days"
        yield Fault(part=CERTIFICATE, found=dates, rule=rule, fix=fix, only_warns=True)


def _of_purpose(certificate: x509.Certificate) -> Iterator[Fault]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return
    allowed = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    if not any(purpose in allowed for purpose in extension.value):
        found = "a certificate that is not for servers"
        rule = "its extended key usage has serverAuth"
        yield Fault(part=CERTIFICATE, found=found, rule=rule, fix="have one issued for a server")


def _of_authority(
    chain: Sequence[x509.Certificate], authorities: Sequence[x509.Certificate], now: datetime
) -> Iterator[Fault]:
    first = chain[0]
    if not authorities:
        if first.issuer == first.subject:
            found = "a self-signed certificate"
            fix = "give it as the CA as well"
            yield Fault(part=CA, found=found, rule="nodes trust its issuer", fix=fix)
        return
    if first in authorities or not _names(first):
        return  # trusted by itself; or without a name, which is reported already
    anything, agnostic = (
        verification.ExtensionPolicy.permit_all(),
        verification.Criticality.AGNOSTIC,
    )
    issuers = anything.require_present(x509.BasicConstraints, agnostic, None)
    server = anything.require_present(x509.SubjectAlternativeName, agnostic, None)
    # As in Go, and so in containerd: chain, signatures and time, not each optional part.
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store(list(authorities)))
        .time(max(first.not_valid_before_utc, min(now, first.not_valid_after_utc)))
        .extension_policies(ca_policy=issuers, ee_policy=server)
        .build_server_verifier(_subject(_names(first)[0]))
    )
    try:
        verifier.verify(first, list(chain[1:]))
    except verification.VerificationError:
        names = ", ".join(one.subject.rfc4514_string() for one in authorities)
        yield Fault(
            part=CA,
            found=f"{names}, but the certificate was issued by {chain[-1].issuer.rfc4514_string()}",
            rule="the certificate's chain leads to the CA, and all of it is valid now",
            fix="give the CA that issued it, and intermediate certificates behind its own",
        )


def _subject(name: str) -> x509.IPAddress | x509.DNSName:
    address = ip_address(name)
    if address is not None:
        return x509.IPAddress(address)
    return x509.DNSName(name.replace("*", "any"))
