"""Answers of servers, which may be anything: no more of one is read than there can be use for."""

from collections.abc import Iterator

import httpx

# For what a server says where it refuses something, or sends on to another: a line or two.
WORDS_BYTES = 64 * 1024
# What every request asks for: a few compressed bytes may become anything.
IDENTITY = {"Accept-Encoding": "identity"}


def cut(answer: httpx.Response, most: int) -> None:
    """Let an answer end after so many bytes, which are taken as they are, compressed or not.

    For `event_hooks`: there it is early enough for what `httpx` itself reads, such as the pages of
    redirects. What is shorter stays as it is.
    """
    if not isinstance(answer.stream, httpx.SyncByteStream):
        raise TypeError("only answers that are waited for")
    answer.stream = _Cut(answer.stream, most)
    answer.headers.pop("Content-Encoding", None)


def cut_refusal(answer: httpx.Response) -> None:
    """The same for an answer that does not bring what was asked for."""
    if answer.status_code != httpx.codes.OK:
        cut(answer, WORDS_BYTES)


class _Cut(httpx.SyncByteStream):
    def __init__(self, whole: httpx.SyncByteStream, most: int) -> None:
        self._whole = whole
        self._most = most

    def __iter__(self) -> Iterator[bytes]:
        left = self._most
        for chunk in self._whole:
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                return

    def close(self) -> None:
        self._whole.close()
