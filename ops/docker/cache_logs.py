"""The logs of caches, as Docker keeps them: lines, from the oldest one on."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

import docker
from docker.errors import APIError, NotFound, create_api_error_from_http_exception
from requests import HTTPError

from ops.docker.api import TIMEOUT_SECONDS
from ops.errors import OpsError
from plan.caches.cache import Cache
from plan.traffic import log_lines

CHUNK_BYTES = 1 << 16
HEADER_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class CacheLog:
    """The log of one cache's container.

    Attributes:
        container: its ID.
        created: when it was created, in seconds since 1970; its log begins then.
        is_running: whether it may say more.
    """

    client: docker.DockerClient
    cache: Cache
    container: str
    created: float
    is_running: bool

    def lines(
        self,
        since: float = 0,
        *,
        until: float = 0,
        last: int = 0,
        follow: bool = False,
        tell: Callable[[int], object] = lambda _: None,
    ) -> Generator[str, None, None]:
        """Its lines on standard error, each after Docker's timestamp.

        On standard output the registry says the same in Apache's format, which lacks a part of it.

        Args:
            since: from the whole second before it on, in seconds since 1970.
            until: up to the whole second before it; 0 for all.
            last: of so many lines at the end, on both outputs; 0 for all.
            follow: wait for more, until the container stops.
            tell: called with the size of each piece that was read, in bytes.

        Raises:
            OpsError: Docker can't read it.
        """
        rest = b""
        try:
            for piece in self._pieces(since=int(since), until=int(until), last=last, follow=follow):
                tell(len(piece))
                *lines, rest = (rest + piece).split(b"\n")
                yield from (line.decode(errors="replace") for line in lines)
        except APIError as error:
            why = error.explanation or error
            raise OpsError(f"the log of {self.cache.name} can't be read: {why}") from error

    def _pieces(
        self, *, since: int, until: int, last: int, follow: bool
    ) -> Generator[bytes, None, None]:
        """Its content as it comes.

        Docker sends a frame for each line. The `docker` package reads each of them twice, through
        so many layers that this takes longer than everything else that is done with a line.
        """
        api = self.client.api
        params: dict[str, int | str] = {"stderr": 1, "timestamps": 1, "follow": int(follow)}
        params |= {"since": since, "until": until, "tail": last or "all"}
        url = f"{api.base_url}/v{api.api_version}/containers/{self.container}/logs"
        with api.get(url, params=params, stream=True, timeout=(TIMEOUT_SECONDS, None)) as answer:
            try:
                answer.raise_for_status()
            except HTTPError as error:
                raise create_api_error_from_http_exception(error) from error
            yield from unframed(answer.iter_content(CHUNK_BYTES))

    def missing_until(self) -> str | None:
        """Until when its lines are gone, because Docker has rotated them away (UTC); None if not.

        Raises:
            OpsError: Docker can't read it.
        """
        with closing(self.lines()) as lines:
            return log_lines.rotated_away(next(lines, ""), self.created)


def unframed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """What a container has printed, from Docker's stream of it.

    Before each piece come eight bytes: which output it is of, and, in the last four of them, its
    length. Source: "Stream format" at ContainerAttach in the description of Docker's API.
    """
    rest = b""
    for chunk in chunks:
        rest += chunk
        start = 0
        while len(rest) >= (content := start + HEADER_BYTES):
            end = content + int.from_bytes(rest[content - 4 : content], "big")
            if len(rest) < end:
                break
            yield rest[content:end]
            start = end
        rest = rest[start:]


def log_of(client: docker.DockerClient, cache: Cache) -> CacheLog | None:
    """The log of a cache; None if it has no container.

    Raises:
        OpsError: Docker refuses to say.
    """
    try:
        container = client.api.inspect_container(cache.name)
    except NotFound:
        return None
    except APIError as error:
        raise OpsError(f"the log of {cache.name} can't be read: {error.explanation}") from error
    return CacheLog(
        client=client,
        cache=cache,
        container=container["Id"],
        created=datetime.fromisoformat(f"{container['Created'][:19]}+00:00").timestamp(),
        is_running=container["State"]["Running"],
    )
