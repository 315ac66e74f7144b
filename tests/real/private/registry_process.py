"""The real distribution registry as a process of this machine: as an upstream, and as a cache."""

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bcrypt
import yaml

from demo.images import Image
from demo.upstream import push
from tests.real.private.authority import ServerFiles
from toolchain import registry_image

START_SECONDS = 30
POLL_SECONDS = 0.02
LOOPBACK = "127.0.0.1"
_LISTENING = re.compile(r"listening on (?P<address>\S+:(?P<port>[0-9]+))")


@dataclass(frozen=True, kw_only=True)
class RegistryProcess:
    """A registry that runs.

    Attributes:
        address: it listens on.
        port: that it was given, or found.
        scheme: http or https.
        log_file: what it has printed.
    """

    address: str
    port: int
    scheme: str
    log_file: Path

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}:{self.port}"

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")


@contextlib.contextmanager
def running(
    folder: Path,
    *,
    data: Path | None = None,
    address: str = LOOPBACK,
    port: int = 0,
    auth: Mapping[str, Any] | None = None,
    tls: ServerFiles | None = None,
    environment: Mapping[str, str] | None = None,
    sections: Mapping[str, Any] | None = None,
) -> Iterator[RegistryProcess]:
    """Run a registry as long as the block takes.

    Args:
        folder: its configuration and log, and its data unless they are elsewhere.
        data: folder of them; what is there is served.
        address: to listen on.
        port: to listen on; 0 for one that is free.
        auth: distribution's own section of that name; absent: open to everybody.
        tls: absent: http.
        environment: more of distribution's settings, over nothing but PATH.
        sections: more of its configuration; what the arguments above say goes before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    more = dict(sections or {})
    http: dict[str, Any] = {**more.get("http", {}), "addr": f"{address}:{port}"}
    if tls:
        http["tls"] = {"certificate": str(tls.certificate), "key": str(tls.key)}
    config = {
        "version": "0.1",
        "log": {"level": "debug"},
        **more,
        "storage": {
            **more.get("storage", {}),
            "filesystem": {"rootdirectory": str(data or folder / "data")},
        },
        "http": http,
        **({"auth": dict(auth)} if auth else {}),
    }
    written, log = folder / "config.yml", folder / "log"
    written.write_text(yaml.safe_dump(config))
    with log.open("w") as output:
        process = subprocess.Popen(
            [registry_image.server(), "serve", written],
            env={
                "PATH": os.environ["PATH"],
                "OTEL_TRACES_EXPORTER": "none",
                **(environment or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        found = _port(process, log)
        yield RegistryProcess(
            address=address, port=found, scheme="https" if tls else "http", log_file=log
        )
    finally:
        process.kill()
        process.wait()


def filled(folder: Path, *images: Image) -> Path:
    """Data of a registry that has these images; put there by one that asks nobody."""
    with running(folder) as registry:
        for image in images:
            push(registry.url, image)
    return folder / "data"


def htpasswd(path: Path, accounts: Mapping[str, str]) -> Mapping[str, Any]:
    """The section `auth` for basic authentication; `write_accounts` changes it at any time."""
    write_accounts(path, accounts)
    return {"htpasswd": {"realm": "private", "path": str(path)}}


def write_accounts(path: Path, accounts: Mapping[str, str]) -> None:
    """User name -> password, hashed as distribution wants it; it reads the file when it changes."""
    lines = (
        f"{name}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=4)).decode()}\n"
        for name, password in accounts.items()
    )
    fresh = path.with_suffix(".new")
    fresh.write_text("".join(lines))
    fresh.replace(path)


def token_auth(folder: Path, *, realm: str, service: str, issuer: str, keys: Any) -> dict[str, Any]:
    """The section `auth` for tokens that are signed with one of these keys (a JSON Web Key Set)."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "jwks.json"
    path.write_text(json.dumps(keys))
    options = {"realm": realm, "service": service, "issuer": issuer, "jwks": str(path)}
    return {"token": options}


def _port(process: "subprocess.Popen[bytes]", log: Path) -> int:
    deadline = time.monotonic() + START_SECONDS
    while (found := _LISTENING.search(log.read_text(errors="replace"))) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the registry did not start:\n{log.read_text(errors='replace')}")
        time.sleep(POLL_SECONDS)
    return int(found["port"])
