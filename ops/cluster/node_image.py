"""The image of nodes in Docker, pulled through its registry's cache."""

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

import docker
from docker.errors import APIError, DockerException
from requests import RequestException

from ops.cluster.supervisor import POLL_SECONDS, Supervisor, say
from ops.errors import OpsError
from plan.talos.cluster import ClusterPlan


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where Docker pulls an upstream's images from.

    Attributes:
        url: of a cache on this machine, or of a project in Harbor.
        login: user name and password for it; empty if it needs none.
    """

    url: str
    login: Mapping[str, str] = field(default_factory=dict, repr=False)


def ensure_image(
    client: docker.DockerClient,
    reference: str,
    sources: Mapping[str, Source],
    supervisor: Supervisor,
) -> None:
    """Pull the node image through its registry's cache, which Docker would bypass.

    Args:
        client: Docker's.
        reference: the image's usual name, under which it is kept.
        sources: upstream host -> where to pull its images from.
        supervisor: says when to stop.

    Raises:
        OpsError: the cache does not have it and can't get it.
    """
    host, _, path = reference.partition("/")
    if host not in sources or client.api.images(name=reference):
        return
    source = sources[host]
    name, _, tag = f"{source.url.partition('://')[2]}/{path}".rpartition(":")
    say(f"pulling the node image {reference} through the cache of {host}")
    if why := _pull(client, name, tag, supervisor, source.login):
        raise _not_pulled(reference, source, why)
    client.api.tag(f"{name}:{tag}", *reference.rsplit(":", 1))
    client.api.remove_image(f"{name}:{tag}", noprune=True)


def _not_pulled(reference: str, source: Source, why: str) -> OpsError:
    trust = ""
    if "x509" in why or "HTTP response to HTTPS" in why:
        server = urlsplit(source.url).netloc
        trust = (
            f". Docker does not trust {server}: put its CA into "
            f"/etc/docker/certs.d/{server}/ca.crt, or pull the image yourself: "
            f"docker pull {reference}"
        )
    return OpsError(
        f"the node image {reference} can't be pulled through its cache ({source.url}): {why}{trust}"
    )


def _pull(
    client: docker.DockerClient,
    name: str,
    tag: str,
    supervisor: Supervisor,
    login: Mapping[str, str],
) -> str | None:
    """Pull an image; returns why it can't be pulled.

    In a thread, because Docker is silent for as long as its registry is; meanwhile the time may
    run out, or the run be interrupted. Docker stops pulling when this process ends.
    """
    failures: list[str] = []
    credentials = {"auth_config": dict(login)} if login else {}

    def pull() -> None:
        try:
            events = client.api.pull(name, tag=tag, stream=True, decode=True, **credentials)
            failures.extend(str(event["error"]) for event in events if "error" in event)
        except APIError as error:
            failures.append(str(error.explanation))
        except (DockerException, RequestException) as error:
            failures.append(str(error))

    thread = threading.Thread(target=pull, daemon=True)
    thread.start()
    while thread.is_alive():
        supervisor.check()
        thread.join(POLL_SECONDS)
    return failures[0] if failures else None


def sources(plan: ClusterPlan) -> dict[str, Source]:
    """Upstream host -> where Docker on this machine pulls its images from."""
    logins = {mirror.host: asdict(mirror.login) for mirror in plan.mirrors if mirror.login}
    return {host: Source(url=url, login=logins.get(host, {})) for host, url in plan.sources}
