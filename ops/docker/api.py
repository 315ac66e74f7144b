"""The few requests that this project sends to Docker itself, through the `docker` package."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.utils.socket import frames_iter
from requests import ReadTimeout, RequestException

from host import docker_endpoint, docker_tls
from host.docker_endpoint import Endpoint
from host.errors import SetupError, TalosCacheError
from host.interfaces import bridge_address
from plan.host_ports import TCP, UDP, HostPort
from plan.network import EVERY_ADDRESS
from plan.ownership import PROJECT_LABEL, STACK_LABEL, Recorded
from plan.problems import PROJECT

REMOVE_POLL_SECONDS = 0.1
TIMEOUT_SECONDS = 30


class DockerUnavailableError(TalosCacheError):
    """Docker does not answer; the text says what to do."""


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container, running or not, as Docker lists it.

    `published` has (address, port) pairs of the host for TCP, `published_udp` for UDP; a stopped
    container publishes nothing.
    """

    id: str
    name: str
    image: str
    status: str
    labels: tuple[tuple[str, str], ...]
    published: tuple[tuple[str, int], ...]
    published_udp: tuple[tuple[str, int], ...] = ()

    @property
    def host_ports(self) -> tuple[HostPort, ...]:
        """All published ports."""
        kinds = {TCP: self.published, UDP: self.published_udp}
        return tuple(
            HostPort(address=address, port=port, protocol=protocol)
            for protocol, published in kinds.items()
            for address, port in published
        )

    def is_known(self, state: Recorded) -> bool:
        """Whether it is in this state."""
        return state.knows(self.id, self.name, dict(self.labels))

    def has_labels(self, labels: dict[str, str]) -> bool:
        """Whether it has all of these labels."""
        return labels.items() <= dict(self.labels).items()


def endpoint() -> Endpoint:
    """Which Docker is used.

    Raises:
        DockerUnavailableError: that can't be determined, or a part of the project can't use it.
    """
    try:
        return docker_endpoint.chosen()
    except SetupError as error:
        raise DockerUnavailableError(str(error)) from error


def connect() -> docker.DockerClient:
    """A client for the Docker that is used.

    Raises:
        DockerUnavailableError: nothing answers.
    """
    where = endpoint()
    try:
        client = docker.DockerClient(
            base_url=where.url, tls=docker_tls.config(where), timeout=TIMEOUT_SECONDS
        )
        client.ping()
    except DockerException as error:
        raise DockerUnavailableError(
            f"Docker does not answer at {where}: {error}. Start it (make up does if it can), or "
            "set DOCKER_HOST to its address."
        ) from error
    return client


def labels_of(stack: str) -> dict[str, str]:
    """Labels of everything in Docker that belongs to a stack, except volumes."""
    return {PROJECT_LABEL: PROJECT, STACK_LABEL: stack}


def is_local(client: docker.DockerClient) -> bool:
    """Whether this machine's ports are Docker's ports."""
    return str(client.api.base_url).startswith("http+docker://")


def containers(client: docker.DockerClient) -> tuple[Container, ...]:
    """All containers, in one call."""
    return tuple(_container(row) for row in client.api.containers(all=True))


def remove_until_gone(client: docker.DockerClient, container: str, deadline: float) -> None:
    """Remove a container, running or not, with its anonymous volumes; no error if it is gone.

    Docker may not have noticed its end yet, or another process may be removing it right now.

    Args:
        client: of Docker.
        container: its id.
        deadline: until when to try again, by `time.monotonic`.

    Raises:
        APIError: Docker still refuses at the deadline.
        ReadTimeout: Docker does not answer.
    """
    while True:
        try:
            client.api.remove_container(container, force=True, v=True)
        except NotFound:
            return
        except (APIError, ReadTimeout):
            if time.monotonic() > deadline:
                raise
            time.sleep(REMOVE_POLL_SECONDS)
        else:
            return


def remove_named(client: docker.DockerClient, prefix: str) -> None:
    """Remove everything whose name starts with `prefix`, and containers that use its volumes."""
    volumes = [volume for volume in client.volumes.list() if volume.name.startswith(prefix)]
    users = {
        row["Id"]
        for volume in volumes
        for row in client.api.containers(all=True, filters={"volume": volume.name})
    }
    for container in containers(client):
        if container.name.startswith(prefix) or container.id in users:
            with suppress(NotFound):  # it may end by itself meanwhile
                client.api.remove_container(container.id, force=True, v=True)
    for network in client.api.networks():
        if network["Name"].startswith(prefix):
            client.api.remove_network(network["Id"])
    for volume in volumes:
        volume.remove()


def bridge_gateway(client: docker.DockerClient) -> str:
    """Address of Docker's default bridge on this host, from a container's point of view.

    Raises:
        DockerUnavailableError: Docker has no default bridge.
    """
    configs = client.api.inspect_network("bridge")["IPAM"]["Config"] or []
    address = bridge_address(config.get("Gateway") for config in configs)
    if address is None:
        raise DockerUnavailableError("Docker has no default bridge on this machine")
    return address


def execute(
    client: docker.DockerClient, container: str, argv: Sequence[str]
) -> tuple[str, Iterator[tuple[int, bytes]]]:
    """Run a program in a running container that has a shell.

    The program waits until this process reads. The `docker` package would lose what a quick program
    prints before that: it reads below a buffer that took those bytes in with the response's header.

    Returns:
        Id of the run, for its exit status, and what it prints as it comes: pairs of 1 for standard
        output or 2 for standard error, and bytes.
    """
    waiting = ["sh", "-c", 'read -r _ && exec "$@"', "sh", *argv]
    started = str(client.api.exec_create(container, waiting, stdin=True)["Id"])
    attached = client.api.exec_start(started, socket=True)
    getattr(attached, "_sock", attached).sendall(b"\n")
    return started, frames_iter(attached, tty=False)


@contextmanager
def sent(content: Iterable[bytes]) -> Iterator[Iterator[bytes]]:
    """Content to send to Docker in this block; an error while reading it is raised as it is.

    The `docker` package reads what it sends, and would report every OSError in that as one of its
    connection.

    Raises:
        OSError: the content can't be read.
    """
    errors: list[OSError] = []

    def watched() -> Iterator[bytes]:
        try:
            yield from content
        except OSError as error:
            errors.append(error)
            raise

    try:
        yield watched()
    except RequestException:
        if errors:
            raise errors[0] from None
        raise


def last_log_lines(client: docker.DockerClient, name: str, lines: int) -> str:
    """The end of a container's log, or why there is none."""
    try:
        container = client.containers.get(name)
        log = container.logs(tail=lines).decode(errors="replace").rstrip()
        return f"state: {container.status}\n{log or '(its log is empty)'}"
    except DockerException as error:
        return f"(no log: {error})"


def _container(row: dict) -> Container:  # type: ignore[type-arg]  # JSON from Docker
    return Container(
        id=row["Id"],
        name=row["Names"][0].lstrip("/") if row["Names"] else row["Id"][:12],
        image=row["Image"],
        status=row["Status"],
        labels=tuple(sorted((row["Labels"] or {}).items())),
        published=_published(row, TCP),
        published_udp=_published(row, UDP),
    )


def _published(row: dict, protocol: str) -> tuple[tuple[str, int], ...]:  # type: ignore[type-arg]
    return tuple(
        (port.get("IP", EVERY_ADDRESS), port["PublicPort"])
        for port in row["Ports"]
        if "PublicPort" in port and port["Type"] == protocol
    )
