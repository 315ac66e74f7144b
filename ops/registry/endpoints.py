"""Checks how endpoints answer `GET /v2/`: from this machine, and from the network of a container.

Only the latter shows what a node on Docker sees: firewalls may be in between, and names such as
host.docker.internal are known on one side only.
"""

import http.client
import re
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import docker
from docker.errors import APIError
from requests import RequestException

from ops.docker import temporary_container
from ops.docker.api import execute
from ops.errors import OpsError
from ops.registry import ping
from plan.diagnosis import ANSWERS, Answer
from plan.network import address_of

CONNECT_SECONDS = 3
# For a server that accepts the connection and sends nothing.
ANSWER_SECONDS = 6
# For the container to check all of them in parallel; on a busy machine it takes a second or two to
# start one.
CONTAINER_SECONDS = 30
AT_ONCE = 16
SILENT = Answer(why_not=f"nothing answers within {CONNECT_SECONDS} s", silent=True)
NO_URL = Answer(why_not="it is not an http or https URL")
# Exit status of busybox's timeout; newer versions end like GNU's.
TIMED_OUT = (143, 124)
# A registry that wants credentials answers 401.
GOOD = (http.client.OK, http.client.UNAUTHORIZED)
# Checks each "SCHEME HOST PORT" of its arguments; prints "NUMBER EXIT-STATUS FIRST-LINE" for each.
# The registry's image has busybox, which can't check certificates: for https, an accepted
# connection has to do.
_ASK = rf"""
ask() {{
    if [ "$2" = https ]; then
        said=$(busybox nc -w {CONNECT_SECONDS} "$3" "$4" -e busybox true 2>&1)
    else
        said=$(printf 'GET /v2/ HTTP/1.0\r\nHost: %s\r\n\r\n' "$3" |
            busybox timeout {ANSWER_SECONDS} busybox nc -w {CONNECT_SECONDS} "$3" "$4" 2>&1)
    fi
    status=$?
    echo "$1 $status $(echo "$said" | busybox head -n 1)"
}}
number=0
for server in "$@"; do
    ask $number $server &
    number=$((number + 1))
done
wait
"""


def seen_from_here(urls: Iterable[str]) -> dict[str, Answer]:
    """URL -> how it answers this machine."""
    each = tuple(urls)
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        return dict(zip(each, pool.map(answer, each), strict=True))


def answer(url: str) -> Answer:
    """How one endpoint answers this machine."""
    try:
        return _of_status(ping.status(url, CONNECT_SECONDS))
    except TimeoutError:
        return SILENT
    except ValueError:
        return NO_URL
    except (OSError, http.client.HTTPException) as error:
        return Answer(why_not=f"nothing answers ({getattr(error, 'strerror', None) or error})")


def seen_from_container(
    client: docker.DockerClient, image: str, container: str, urls: Collection[str]
) -> dict[str, Answer]:
    """URL -> how it answers in the network of a running container.

    A container of the registry's image joins that network while it checks them.

    Raises:
        OpsError: Docker can't start it.
    """
    servers = {url: server for url in urls if (server := _server(url))}
    printed = _run(client, image, container, list(servers.values())) if servers else ""
    results = _by_number(printed)
    checked = {
        url: _of_nc(results.get(number), https=servers[url].startswith("https "))
        for number, url in enumerate(servers)
    }
    return {url: checked.get(url, NO_URL) for url in urls}


def connects(client: docker.DockerClient, container: str, url: str) -> Answer:
    """Whether a running container can connect to the server behind a URL, by its name."""
    host, port = address_of(url)
    # One limit for the connection, and one that includes the look-up of the name.
    command = ["busybox", "timeout", str(ANSWER_SECONDS), "busybox", "nc", "-w"]
    command += [str(CONNECT_SECONDS), host, str(port), "-e", "busybox", "true"]
    try:
        started, frames = execute(client, container, command)
        printed = b"".join(chunk for _, chunk in frames).decode(errors="replace")
        status = client.api.exec_inspect(started)["ExitCode"]
    except APIError as error:
        return Answer(why_not=f"it can't be checked: {error.explanation}")
    return _of_nc((status, printed.strip()), https=True)


def _server(url: str) -> str:
    try:
        host, port = address_of(url)
    except ValueError:
        return ""
    return f"{url.partition(':')[0].lower()} {host} {port}"


def _run(client: docker.DockerClient, image: str, container: str, servers: list[str]) -> str:
    config = client.api.create_host_config(network_mode=f"container:{container}", read_only=True)
    script = ["busybox", "sh", "-c", _ASK, "ask"]
    with ExitStack() as stack:
        try:
            checker = stack.enter_context(
                temporary_container.container(
                    client, image, entrypoint=script, command=servers, host_config=config
                )
            )
        except APIError as error:
            raise OpsError(
                f"Docker can't create a container for the check: {error.explanation}"
            ) from error
        try:
            client.api.start(checker)
            client.api.wait(checker, timeout=CONTAINER_SECONDS)
            return str(client.api.logs(checker, stdout=True, stderr=False).decode(errors="replace"))
        except (APIError, RequestException) as error:
            why = getattr(error, "explanation", None) or error
            raise OpsError(
                f"the check from the network of {container[:12]} failed: {why}"
            ) from error


def _by_number(printed: str) -> dict[int, tuple[int, str]]:
    """From lines "NUMBER EXIT-STATUS FIRST-LINE"."""
    results = {}
    for line in printed.splitlines():
        if match := re.fullmatch(r"(\d+) (\d+) ?(.*)", line.rstrip()):
            results[int(match[1])] = (int(match[2]), match[3])
    return results


def _of_nc(result: tuple[int, str] | None, *, https: bool) -> Answer:
    """What busybox nc's exit status and first line mean.

    Args:
        result: both; None if nothing was printed for it.
        https: whether only a connection was tried.
    """
    status, line = result or (1, "no output")
    if "timed out" in line or status in TIMED_OUT:
        return SILENT
    if status != 0:
        return Answer(why_not=f"nothing answers ({_reason(line)})")
    if https:
        return ANSWERS
    match = re.match(r"HTTP/1\.\d (\d{3})", line)
    if match is None:
        return Answer(why_not="something answers that is not a registry")
    return _of_status(int(match[1]))


def _of_status(status: int) -> Answer:
    if status in GOOD:
        return ANSWERS
    return Answer(why_not=f"no registry answers (status {status})")


def _reason(line: str) -> str:
    """`nc: can't connect to remote host (10.0.0.1): Connection refused` -> the end of it."""
    return line.removeprefix("nc: ").rpartition("): ")[2]
