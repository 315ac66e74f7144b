"""What clients of this project speak TLS with."""

import functools
import ssl


@functools.cache
def unverified_tls() -> ssl.SSLContext:
    """Takes any certificate: for this machine's caches, which nobody else answers for.

    It reads no authorities, and is made once: a cache that is not ready yet is asked many times.
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
    """Trusts the public authorities that the registry's image has, and these certificates.

    Reading the authorities takes longer than asking a registry, so they are read once.

    Raises:
        SSLError, ValueError, TypeError: there are no certificates in it.
    """
    import httpx  # who only looks whether a cache answers does not wait for this

    context = httpx.create_ssl_context(trust_env=False)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a CA need not be a root, as in Go
    return _as_in_go(context, ca_pem)


def _as_in_go(context: ssl.SSLContext, ca_pem: str) -> ssl.SSLContext:
    """Go's clients, nodes included, take CAs without a key usage, which Python 3.13 refuses.

    Harbor's own documents make one without.
    """
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if ca_pem:
        context.load_verify_locations(cadata=ca_pem)
    return context
