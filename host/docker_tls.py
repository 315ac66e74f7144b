"""What the `docker` package speaks TLS with; it is there once the set-up has run."""

from typing import Any

from host.docker_endpoint import TLS_FILES, Endpoint


def config(endpoint: Endpoint) -> Any:
    """For the argument `tls` of a client; False for no TLS.

    A bundle of authorities in the environment (REQUESTS_CA_BUNDLE, as companies set it) would take
    the place of Docker's own CA. So such a client does not look at the environment.
    """
    from docker.tls import TLSConfig

    class OwnCaOnly(TLSConfig):  # type: ignore[misc]  # the package has no types
        def configure_client(self, client: Any) -> None:
            super().configure_client(client)
            client.trust_env = False

    if endpoint.certificates is None:
        return False
    ca, certificate, key = (str(endpoint.certificates / name) for name in TLS_FILES)
    return OwnCaOnly(client_cert=(certificate, key), ca_cert=ca, verify=True)
