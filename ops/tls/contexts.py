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
