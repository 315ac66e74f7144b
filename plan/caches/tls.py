"""What TLS takes: the certificate that caches answer with, and the CAs that somebody has to trust.

Everything here is PEM text; where it comes from is decided in `ops`.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from plan.caches.addressing import Addressing
from plan.network import LOOPBACK
from plan.problems import Problem
from plan.settings.stack import Settings

_CERTIFICATE = "-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, kw_only=True)
class ServerCertificate:
    """What every cache of a stack answers with.

    Attributes:
        certificate: of the server, with what leads up to its CA.
        key: of the server, a secret.
        ca: what nodes have to trust; empty where they do already.
    """

    certificate: str
    key: str = field(repr=False)
    ca: str


def names(where: Addressing) -> tuple[str, ...]:
    """Addresses and host names that nodes and this machine call the caches by."""
    bound = (
        address
        for address in where.bind_addresses
        if not ipaddress.ip_address(address).is_unspecified
    )
    return tuple(dict.fromkeys((where.endpoint_host.strip("[]"), LOOPBACK, "localhost", *bound)))


def files(settings: Settings) -> dict[str, str]:
    """Path of every file that holds a certificate or a key -> what names it in the stack."""
    named = {
        settings.cache.certificate_file: "cache.certificate",
        settings.cache.key_file: "cache.key",
        settings.cache.ca_file: "cache.ca",
        settings.harbor.ca_file if settings.harbor else "": "harbor.ca",
        **{one.ca_file: f"upstreams.{one.host}.ca" for one in settings.upstreams},
    }
    return {path: key for path, key in named.items() if path}


def given(settings: Settings, texts: Mapping[str, str]) -> ServerCertificate | None:
    """The certificate that the stack's files hold; None where it has none of its own."""
    cache = settings.cache
    if not cache.certificate_file:
        return None
    return ServerCertificate(
        certificate=texts[cache.certificate_file],
        key=texts[cache.key_file],
        ca=texts[cache.ca_file] if cache.ca_file else "",
    )


def problems(settings: Settings, texts: Mapping[str, str]) -> tuple[Problem, ...]:
    """Files of certificates that hold none; a key is looked at where it is used."""
    key_file = settings.cache.key_file
    return tuple(
        Problem(
            path=f"{key} ({path})",
            found="no certificate",
            rule="a file in PEM format, which has a line BEGIN CERTIFICATE",
            fix="convert it: openssl x509 -inform der -in FILE -out FILE.pem",
        )
        for path, key in files(settings).items()
        if path != key_file and path in texts and _CERTIFICATE not in texts[path]
    )
