"""The TLS contexts of this project's clients."""

import functools
import ssl


@functools.cache
def unverified_tls() -> ssl.SSLContext:
    """Accepts any certificate: for caches on this machine, in whose place no one else answers.

    It loads no CAs, and is created once: a cache that is not ready yet gets many requests.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def machine_trust(ca_pem: str) -> ssl.SSLContext:
    """Trusts what this machine trusts, and these certificates.

    Raises:
        SSLError, ValueError, TypeError: there are no certificates in it.
    """
    return _as_in_go(ssl.create_default_context(), ca_pem)


@functools.cache
def public_trust(ca_pem: str) -> ssl.SSLContext:
    """Trusts the public CAs that the registry's image has, and these certificates.

    Reading the CAs takes longer than a request to a registry, so they are read once.

    Raises:
        SSLError, ValueError, TypeError: there are no certificates in it.
    """
    import httpx  # slow to import, and not needed to check that a cache answers

    context = httpx.create_ssl_context(trust_env=False)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a CA need not be a root, as in Go
    return _as_in_go(context, ca_pem)


def _as_in_go(context: ssl.SSLContext, ca_pem: str) -> ssl.SSLContext:
    """Accept CAs without a key usage, as Go's clients do, nodes included; Python 3.13 refuses them.

    Harbor's documentation creates such a CA.
    """
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if ca_pem:
        context.load_verify_locations(cadata=ca_pem)
    return context
