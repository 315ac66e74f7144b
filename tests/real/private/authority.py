"""A private certificate authority, made for a test (by trustme), and the servers it vouches for."""

import datetime
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, kw_only=True)
class ServerFiles:
    """Certificate and key of a server, in PEM."""

    certificate: Path
    key: Path


class Authority:
    """A CA whose certificate is `pem`, also as the file `path`, alone in its folder."""

    def __init__(self, folder: Path):
        self._ca = trustme.CA(organization_name="talos-cache test")
        self._folder = folder
        self._number = 0
        self.pem = self._ca.cert_pem.bytes().decode()
        self.path = folder / "trusted" / "ca.pem"
        self.path.parent.mkdir(parents=True)
        self.path.write_text(self.pem)

    def server(self, *names: str, days: int = 30) -> ServerFiles:
        """A certificate for names and addresses, for so many days; below zero it has expired."""
        end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
        start = end - datetime.timedelta(days=60)
        made = self._ca.issue_cert(*names, not_before=start, not_after=end)
        self._number += 1
        files = ServerFiles(
            certificate=self._folder / f"server-{self._number}.pem",
            key=self._folder / f"server-{self._number}.key",
        )
        files.certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        files.key.touch(0o600)
        files.key.write_bytes(made.private_key_pem.bytes())
        return files
