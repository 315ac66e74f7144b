"""Limits how much of a server's answer is read, which may be anything."""

from collections.abc import Iterator

import httpx

# For error messages and redirects: a line or two is usual.
MESSAGE_BYTES = 64 * 1024
# Sent with every request: a few compressed bytes may expand to anything.
IDENTITY = {"Accept-Encoding": "identity"}


def cut(answer: httpx.Response, most: int) -> None:
    """Cut an answer after so many bytes, which are taken as they are, compressed or not.

    For `event_hooks`: that is early enough for what `httpx` itself reads, such as the pages of
    redirects. A shorter answer is not changed.
    """
    if not isinstance(answer.stream, httpx.SyncByteStream):
        raise TypeError("only answers to a synchronous client")
    answer.stream = _Cut(answer.stream, most)
    answer.headers.pop("Content-Encoding", None)


def cut_refusal(answer: httpx.Response) -> None:
    """The same for an answer that is not what was requested."""
    if answer.status_code != httpx.codes.OK:
        cut(answer, MESSAGE_BYTES)


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
