"""TLS settings for the `docker` package, which is there once the set-up has run."""

from typing import Any

from host.docker_endpoint import TLS_FILES, Endpoint


def config(endpoint: Endpoint) -> Any:
    """The argument `tls` of a client; False for no TLS.

    A CA bundle in the environment (companies set REQUESTS_CA_BUNDLE) would replace Docker's own CA.
    So such a client ignores the environment.
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
