"""A private CA and a server certificate for the caches, in a private folder of the stack.

Both keys are made once; only the certificates expire, and `ensure` regenerates them in time. A new
CA certificate has the same name and key, so a node that still has the previous one trusts the
caches anyway.
"""

import contextlib
import hashlib
import ipaddress
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from host.locks import only_one
from host.paths import user_cache
from host.private_files import private_folder, write_private
from ops.errors import OpsError
from plan.network import ip_address

# Of both: the server's certificate lives as long as its CA (earlier versions gave it 365 days).
CA_DAYS = 3650
# Regenerated when fewer are left.
CA_RENEWAL_DAYS = 60
SERVER_RENEWAL_DAYS = 30
# Clocks of nodes may be behind.
EARLIER = timedelta(days=1)
CA_PEM, CA_KEY, SERVER_PEM, SERVER_KEY = "ca.pem", "ca.key", "server.pem", "server.key"
KEY_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True, kw_only=True)
class Material:
    """What the caches and the nodes need, in PEM.

    Attributes:
        ca_pem: the CA that nodes have to trust.
        server_pem: the caches' certificate.
        server_key: its key; a secret.
    """

    ca_pem: str
    server_pem: str
    server_key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def ensure(folder: Path, names: Sequence[str], now: datetime) -> Material:
    """Load what is in the folder, after generating what is missing, expiring or for other names.

    Args:
        folder: private to the stack; only its owner can enter it afterwards.
        names: IP addresses and host names that the caches are called by, at least one.
        now: with its time zone.

    Raises:
        OpsError: a file is damaged, can't be read or written, or belongs to another user.
    """
    with _locked(folder):
        ca, is_regenerated = _ensure_ca(folder, now)
        _make_key(folder / SERVER_KEY, folder / SERVER_PEM)
        if (
            is_regenerated
            or not (folder / SERVER_PEM).exists()
            or _is_outdated(_server(folder, ca), names, now)
        ):
            _make_server(folder, ca, names, now)
        _server(folder, ca)
        return Material(
            ca_pem=_text(folder / CA_PEM),
            server_pem=_text(folder / SERVER_PEM),
            server_key=_text(folder / SERVER_KEY),
        )


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder, and make it private, for one process at a time."""
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    with only_one(user_cache() / "locks" / f"certificates-{name}.lock"):
        try:
            if folder.exists():
                _refuse_foreign(folder)
            private_folder(folder)
            yield
        except OSError as error:
            raise OpsError(f"{error.filename or folder}: {error.strerror}") from error


def _refuse_foreign(path: Path) -> None:
    if path.lstat().st_uid != os.geteuid():
        raise OpsError(f"{path} belongs to another user: run this as its owner, or remove it")


def _text(path: Path) -> str:
    """Content of one of our files.

    Raises:
        OpsError: it belongs to another user, is a link, or can be read by others.
    """
    _refuse_foreign(path)
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode):
        raise OpsError(f"{path} is not a regular file: remove it, and it is regenerated")
    if mode & 0o077:
        raise OpsError(
            f"{path} can be read by others (mode {stat.S_IMODE(mode):o}): remove {path.parent} for "
            f"a new CA if someone may have read it, else: chmod 600 {path}"
        )
    return path.read_bytes().decode("ascii", errors="replace")


def _ensure_ca(folder: Path, now: datetime) -> tuple[_Pair, bool]:
    """The CA, and whether it was about to expire: then the server's certificate ends with it."""
    _make_key(folder / CA_KEY, folder / CA_PEM)
    if not (folder / CA_PEM).exists():
        _make_ca(folder, now)
    ca = _pair(folder / CA_PEM, folder / CA_KEY)
    if _days_left(ca, now) >= CA_RENEWAL_DAYS:
        return ca, False
    _make_ca(folder, now)
    return _pair(folder / CA_PEM, folder / CA_KEY), True


def _is_outdated(server: _Pair, names: Sequence[str], now: datetime) -> bool:
    return _names(server) != _normalised(names) or _days_left(server, now) < SERVER_RENEWAL_DAYS


def _make_key(path: Path, certificate: Path) -> None:
    """Generate a key unless it exists.

    A key without a certificate was left by a run that was killed; a certificate without its key is
    damage.
    """
    if path.exists():
        return
    if certificate.exists():
        raise OpsError(
            f"{path} is missing: put it back, or remove {certificate} too, and both are regenerated"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(path, pem.decode())


def _make_ca(folder: Path, now: datetime) -> None:
    key = _key(folder / CA_KEY)
    usage = _key_usage("key_cert_sign", "crl_sign")
    name = _ca_name(key)
    certificate = (
        _builder(name, name, key, now, now + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    write_private(folder / CA_PEM, certificate.public_bytes(Encoding.PEM).decode())


def _make_server(folder: Path, ca: _Pair, names: Sequence[str], now: datetime) -> None:
    key = _key(folder / SERVER_KEY)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "talos-cache")])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key())
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    certificate = (
        _builder(subject, ca.certificate.subject, key, now, ca.certificate.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage("digital_signature"), critical=True)
        .add_extension(purposes, critical=False)
        .add_extension(issuer, critical=False)
        .add_extension(x509.SubjectAlternativeName(_general_names(names)), critical=False)
        .sign(ca.key, hashes.SHA256())
    )
    write_private(folder / SERVER_PEM, certificate.public_bytes(Encoding.PEM).decode())


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(end)
        .add_extension(identifier, critical=False)
    )


def _ca_name(key: ec.EllipticCurvePrivateKey) -> x509.Name:
    """A name that tells the CAs of several stacks apart in what a node trusts."""
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"talos-cache CA {identifier[:8]}")])


def _key_usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in allowed for usage in KEY_USAGES})


def _normalised(names: Sequence[str]) -> frozenset[str]:
    return frozenset(str(ip_address(name) or name.lower()) for name in names)


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    return [
        x509.IPAddress(ipaddress.ip_address(name)) if ip_address(name) else x509.DNSName(name)
        for name in sorted(_normalised(names))
    ]


def _names(server: _Pair) -> frozenset[str]:
    """Host names and IP addresses that the certificate is for."""
    extension = server.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return frozenset(str(name.value) for name in extension.value)


def _server(folder: Path, ca: _Pair) -> _Pair:
    """Load the caches' certificate, which must have been issued by this CA."""
    pair = _pair(folder / SERVER_PEM, folder / SERVER_KEY)
    try:
        pair.certificate.verify_directly_issued_by(ca.certificate)
    except (InvalidSignature, ValueError, TypeError) as error:
        path = folder / SERVER_PEM
        raise OpsError(
            f"{path} was not issued by the CA beside it: remove it, and it is regenerated"
        ) from error
    return pair


def _pair(pem: Path, key: Path) -> _Pair:
    """Load a certificate and the key beside it, which must belong together."""
    try:
        certificate = x509.load_pem_x509_certificate(_text(pem).encode())
    except ValueError as error:
        raise OpsError(
            f"{pem} is damaged: remove it, and it is regenerated with the same key"
        ) from error
    private = _key(key)
    if certificate.public_key() != private.public_key():
        raise OpsError(f"{pem} does not belong to {key.name} beside it: remove it for a new one")
    return _Pair(certificate=certificate, key=private)


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(_text(path).encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        # Without a cause, which might quote the key.
        raise OpsError(
            f"{path} is damaged: put it back, or remove it and {path.with_suffix('.pem').name}, "
            "and both are regenerated"
        )
    return key


def _days_left(pair: _Pair, now: datetime) -> int:
    """Whole days until the certificate expires; below zero once it has."""
    return (pair.certificate.not_valid_after_utc - now).days
