"""The caches' TLS certificate, and the certificate files that a stack names.

Everything here is PEM text; `ops` decides where it is from.
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
    """The certificate of all caches of a stack.

    Attributes:
        certificate: of the server, followed by the intermediate certificates.
        key: of the server, a secret.
        ca: CA that nodes must trust; empty if they do already.
    """

    certificate: str
    key: str = field(repr=False)
    ca: str


def names(addressing: Addressing) -> tuple[str, ...]:
    """Addresses and host names in URLs of the caches, on nodes and on this machine."""
    bound = (
        address
        for address in addressing.bind_addresses
        if not ipaddress.ip_address(address).is_unspecified
    )
    return tuple(
        dict.fromkeys((addressing.endpoint_host.strip("[]"), LOOPBACK, "localhost", *bound))
    )


def files(settings: Settings) -> dict[str, str]:
    """Path of every certificate or key file -> the config key that names it."""
    named = {
        settings.cache.certificate_file: "cache.certificate",
        settings.cache.key_file: "cache.key",
        settings.cache.ca_file: "cache.ca",
        settings.harbor.ca_file if settings.harbor else "": "harbor.ca",
        **{upstream.ca_file: f"upstreams.{upstream.host}.ca" for upstream in settings.upstreams},
    }
    return {path: key for path, key in named.items() if path}


def given(settings: Settings, texts: Mapping[str, str]) -> ServerCertificate | None:
    """The user's own certificate, from the stack's files; None if there is none."""
    cache = settings.cache
    if not cache.certificate_file:
        return None
    return ServerCertificate(
        certificate=texts[cache.certificate_file],
        key=texts[cache.key_file],
        ca=texts[cache.ca_file] if cache.ca_file else "",
    )


def problems(settings: Settings, texts: Mapping[str, str]) -> tuple[Problem, ...]:
    """Certificate files without a certificate; the key is checked where it is used."""
    key_file = settings.cache.key_file
    return tuple(
        Problem(
            path=f"{key} ({path})",
            found="no certificate",
            rule="a file in PEM format, with a line BEGIN CERTIFICATE",
            fix="convert it: openssl x509 -inform der -in FILE -out FILE.pem",
        )
        for path, key in files(settings).items()
        if path != key_file and path in texts and _CERTIFICATE not in texts[path]
    )
