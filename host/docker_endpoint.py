"""Which Docker to use: found as the `docker` command finds it, and the same for every program.

The programs follow different rules: the `docker` command and the `docker` package know contexts,
Pulumi's provider and talosctl only DOCKER_HOST. So the result is passed on as DOCKER_HOST and its
companions, which all of them understand. See docs/adr/0024.
"""

import contextlib
import hashlib
import http.client
import json
import os
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from host.errors import SetupError

DEFAULT_SOCKET = "/var/run/docker.sock"
DEFAULT_CONTEXT = "default"
ANSWER_SECONDS = 5
PORT, TLS_PORT = 2375, 2376
# Pulumi's provider and talosctl need all three.
TLS_FILES = ("ca.pem", "cert.pem", "key.pem")
VARIABLES = ("DOCKER_HOST", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where Docker is.

    Attributes:
        url: `unix:///...` or `tcp://host:port`.
        source: what chose it, for messages; empty if nothing did and it is the default socket.
        certificates: folder with the client's certificate and the CA, which must have signed the
            server's certificate too; None: no TLS.
    """

    url: str
    source: str = ""
    certificates: Path | None = None

    @property
    def socket_path(self) -> str | None:
        """Path of the socket; None if it is reached over the network."""
        return self.url.removeprefix("unix://") if self.url.startswith("unix://") else None

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point every program there; an empty one must not be set."""
        return {
            "DOCKER_HOST": self.url if self.source else "",
            "DOCKER_TLS": "",
            "DOCKER_TLS_VERIFY": "1" if self.certificates else "",
            "DOCKER_CERT_PATH": str(self.certificates or ""),
        }

    def __str__(self) -> str:
        return f"{self.url} (from {self.source})" if self.source else self.url


class NoAnswerError(SetupError):
    """Docker does not answer; the text says where and how."""

    def __init__(self, endpoint: Endpoint, reason: str) -> None:
        super().__init__(f"Docker does not answer at {endpoint}: {reason}")


class NobodyListensError(NoAnswerError):
    """Certainly no dockerd is listening there."""


class SlowError(NoAnswerError):
    """Something listens there, but does not respond."""


class NotAllowedError(NoAnswerError):
    """This user may not use the socket."""


def chosen() -> Endpoint:
    """The Docker that the `docker` command would talk to.

    Raises:
        SetupError: its source can't be read, or some program can't use that endpoint.
    """
    if host := os.environ.get("DOCKER_HOST"):
        return _from_variables(host)
    config = docker_folder() / "config.json"
    if name := os.environ.get("DOCKER_CONTEXT"):
        source = f"the docker context '{name}' in DOCKER_CONTEXT"
    else:
        name = _current_context(config)
        source = f"the docker context '{name}' in {config}"
    if name in (None, DEFAULT_CONTEXT):
        return Endpoint(url=f"unix://{DEFAULT_SOCKET}")
    return _from_context(name, source)


def without_context() -> Endpoint:
    """The Docker that Pulumi's provider talks to: it knows DOCKER_HOST, and no contexts.

    Raises:
        SetupError: DOCKER_HOST is not usable.
    """
    if host := os.environ.get("DOCKER_HOST"):
        return _from_variables(host)
    return Endpoint(url=f"unix://{DEFAULT_SOCKET}")


def same(one: Endpoint, other: Endpoint) -> bool:
    """Whether both are the same Docker; a socket may be a link to another."""
    if one.socket_path and other.socket_path:
        return os.path.realpath(one.socket_path) == os.path.realpath(other.socket_path)
    return one.url == other.url


def ask(endpoint: Endpoint, path: str, key: str, *, seconds: float = 0) -> str:
    """GET a path of Docker's API and return one value of the response.

    Args:
        endpoint: where Docker is.
        path: of the API.
        key: of the value.
        seconds: timeout; 0: ANSWER_SECONDS.

    Raises:
        NoAnswerError: nothing responds, or something other than Docker.
    """
    seconds = seconds or ANSWER_SECONDS
    try:
        with contextlib.closing(_connection(endpoint, seconds)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            content = answer.read()
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NobodyListensError(endpoint, str(error.strerror)) from error
    except TimeoutError as error:
        raise SlowError(endpoint, f"no response within {seconds:g} s") from error
    except PermissionError as error:
        kind = NotAllowedError if endpoint.socket_path else NoAnswerError
        raise kind(endpoint, str(error.strerror)) from error
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswerError(endpoint, str(error)) from error
    except ValueError as error:  # such as a UnicodeError: the name can't even be looked up
        raise NoAnswerError(endpoint, f"not a valid host name ({error})") from error
    try:
        return str(json.loads(content)[key])
    except (ValueError, KeyError, TypeError) as error:
        reason = f"what responds is not Docker (HTTP {answer.status}, {content[:80]!r})"
        raise NoAnswerError(endpoint, reason) from error


def _from_variables(host: str) -> Endpoint:
    verifies = bool(os.environ.get("DOCKER_TLS_VERIFY"))
    folder = Path(os.environ.get("DOCKER_CERT_PATH") or docker_folder()) if verifies else None
    trusts_anyone = "DOCKER_TLS without DOCKER_TLS_VERIFY" if os.environ.get("DOCKER_TLS") else ""
    return _usable(host, "DOCKER_HOST", folder, "" if verifies else trusts_anyone)


def _from_context(name: str, source: str) -> Endpoint:
    digest = hashlib.sha256(name.encode()).hexdigest()
    contexts = docker_folder() / "contexts"
    meta = contexts / "meta" / digest / "meta.json"
    try:
        described = json.loads(meta.read_text())["Endpoints"]["docker"]
        host, skips = str(described["Host"]), bool(described.get("SkipTLSVerify"))
    except FileNotFoundError as error:
        raise SetupError(
            f"{source} does not exist ({meta}). docker context ls lists those that do; "
            "docker context use default switches back to the default Docker."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SetupError(
            f"{source} can't be read ({meta}): {error!r}. Recreate it with docker context "
            "create, or switch to another: docker context use default"
        ) from error
    folder = contexts / "tls" / digest / "docker"
    certificates = folder if folder.is_dir() else None
    return _usable(host, source, certificates, "skip-tls-verify of this context" if skips else "")


def _usable(host: str, source: str, folder: Path | None, trusts_anyone: str) -> Endpoint:
    """An endpoint that every program can use.

    Args:
        host: as the docker command accepts it.
        source: what chose it.
        folder: of the certificates; None: no TLS.
        trusts_anyone: what requests TLS without verification; empty: nothing does.

    Raises:
        SetupError: some program can't.
    """
    scheme, separator, rest = host.partition("://")
    if not separator and not host.startswith("/"):
        scheme, rest = "tcp", host  # the docker command's own shorthand
    if scheme == "unix":
        return Endpoint(url=f"unix://{rest or DEFAULT_SOCKET}", source=source)
    if scheme == "ssh":
        raise SetupError(
            f"Docker at {_shown(host)} (from {source}): talosctl can't connect over ssh, and the "
            "caches' ports would be open on that machine, not on this one. Run this project there. "
            "If that Docker's ports can be reached from here, forward its socket "
            "(ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST) and set "
            "DOCKER_HOST=unix:///tmp/docker.sock"
        )
    try:
        parts = urlsplit(f"//{rest}")
        is_address = bool(parts.hostname) and parts.path in ("", "/") and "@" not in parts.netloc
        port = parts.port or (TLS_PORT if folder else PORT)
    except ValueError:
        is_address = False
    if scheme != "tcp" or not is_address:
        raise SetupError(
            f"Docker at {_shown(host)} (from {source}): it must be unix:///PATH/OF/A/SOCKET or "
            "tcp://HOST:PORT, which Pulumi, talosctl and the docker command all understand"
        )
    if trusts_anyone:
        raise SetupError(
            f"Docker at {host} (from {source}): {trusts_anyone} accepts any certificate, but "
            f"Pulumi's provider only one signed by the CA in ca.pem. Get {', '.join(TLS_FILES)} "
            "of that Docker and verify it: docker context update NAME --docker "
            "'host=...,ca=...,cert=...,key=...', or DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH"
        )
    missing = [name for name in TLS_FILES if folder and not (folder / name).is_file()]
    if missing:
        raise SetupError(
            f"Docker at {host} (from {source}): {folder} has no {', '.join(missing)}. With TLS, "
            f"Pulumi and talosctl need {', '.join(TLS_FILES)}"
        )
    name = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
    return Endpoint(url=f"tcp://{name}:{port}", source=source, certificates=folder)


def _current_context(config: Path) -> str | None:
    try:
        return str(json.loads(config.read_text()).get("currentContext") or "") or None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise SetupError(
            f"{config}, where the docker command looks up which Docker to use, can't be read: "
            f"{error}. Fix it, or set DOCKER_HOST"
        ) from error


def docker_folder() -> Path:
    """Where the docker command keeps its configuration."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def _shown(host: str) -> str:
    """The address without a password."""
    return re.sub(r"//[^/@]*@", "//...@", host)


def _connection(endpoint: Endpoint, seconds: float) -> http.client.HTTPConnection:
    if endpoint.socket_path:
        return _UnixConnection(endpoint.socket_path, seconds)
    address = urlsplit(endpoint.url).netloc
    if not endpoint.certificates:
        return http.client.HTTPConnection(address, timeout=seconds)
    ca, certificate, key = (endpoint.certificates / name for name in TLS_FILES)
    context = ssl.create_default_context(cafile=str(ca))
    context.load_cert_chain(certificate, key)
    return http.client.HTTPSConnection(address, timeout=seconds, context=context)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
