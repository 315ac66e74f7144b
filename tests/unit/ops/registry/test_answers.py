"""Servers that answer with far more than was requested, plain and compressed."""

import gzip
import json
import threading
import tracemalloc
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
import zstandard

from ops.errors import OpsError
from ops.harbor.client import Client
from ops.registry import answers, fetch, upstream_credentials
from ops.registry.fetch import FetchError
from ops.registry.tokens import RefusedError, TokenAuth
from ops.registry.verdicts import (
    Question,
    Refused,
    Unreachable,
    Useless,
)
from plan.images.manifests import MANIFEST_BYTES
from plan.settings.credentials import Credentials

MIB = 1024 * 1024
ENDLESS = 100 * MIB
MOST_MEMORY = 40 * MIB
ZSTD = zstandard.ZstdCompressor().compress(b" " * ENDLESS)
GZIP = gzip.compress(b" " * ENDLESS, 6)
PIECE = b" " * 65536


@contextmanager
def answering(*turns):
    """A server that sends these answers in turn, the last one for ever: status, headers, body.

    A body of None is ENDLESS spaces, as many of them as are read.
    """
    left = list(turns)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, headers, body = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value.format(url=url))
            self.end_headers()
            try:
                for piece in [PIECE] * (ENDLESS // len(PIECE)) if body is None else [body]:
                    self.wfile.write(piece)
            except OSError:  # the client has had enough
                self.close_connection = True

        def log_message(self, *_):
            """Not needed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield url
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def little_memory():
    tracemalloc.start()
    try:
        yield
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < MOST_MEMORY


REFUSED = [
    (503, {}, None),
    (503, {"Content-Encoding": "zstd"}, ZSTD),
    (503, {"Content-Encoding": "gzip"}, GZIP),
]
SHAPES = ["plain", "zstd", "gzip"]


@pytest.mark.parametrize("refused", REFUSED, ids=SHAPES)
def test_a_registrys_error_message_is_cut(refused):
    with (
        answering(refused) as url,
        little_memory(),
        pytest.raises(FetchError, match="/v2/team/a/manifests/v1: 503"),
    ):
        fetch.manifest(fetch.source(f"{url}/v2"), "team/a", "v1")


@pytest.mark.parametrize("refused", REFUSED, ids=SHAPES)
def test_the_page_of_a_redirect_is_cut(refused):
    _, headers, body = refused
    away = (307, {**headers, "Location": "{url}/elsewhere"}, body)
    with answering(away, (200, {}, b"{}")) as url, little_memory():
        assert fetch.manifest(fetch.source(f"{url}/v2"), "team/a", "v1") == b"{}"


def test_a_manifest_that_is_too_large_is_not_taken():
    with (
        answering((200, {}, None)) as url,
        little_memory(),
        pytest.raises(FetchError, match="/v2/team/a/manifests/v1: it is larger"),
    ):
        fetch.manifest(fetch.source(f"{url}/v2"), "team/a", "v1")


def test_the_largest_manifest_and_a_blob_of_any_size_are_taken():
    largest = b" " * MANIFEST_BYTES
    with answering((200, {}, largest)) as url:
        assert fetch.manifest(fetch.source(f"{url}/v2"), "team/a", "v1") == largest
    chunks = []
    with answering((200, {}, None)) as url, little_memory(), pytest.raises(FetchError, match="dig"):
        fetch.blob(fetch.source(f"{url}/v2"), "team/a", f"sha256:{'0' * 64}", chunks.append)
    assert sum(chunks) == ENDLESS


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}, None),
        (200, {"Content-Encoding": "zstd"}, ZSTD),
        (200, {}, b"[" * 200_000),
        (200, {}, b"[3]"),
        (200, {"X-Total-Count": "many"}, b"{}"),
    ],
    ids=["plain", "zstd", "nested", "no objects", "no list"],
)
def test_a_harbor_that_answers_anything(answer):
    with (
        answering(answer) as url,
        little_memory(),
        Client(url, "admin", "Harbor12345") as harbor,
        pytest.raises(OpsError, match="is not Harbor's API"),
    ):
        harbor.all("/registries")


def test_a_count_that_is_not_a_number_is_one_page():
    answer = (200, {"X-Total-Count": "many"}, b'[{"id": 1}]')
    with answering(answer) as url, Client(url, "admin", "Harbor12345") as harbor:
        assert harbor.all("/registries") == ({"id": 1},)


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}, None),
        (200, {"Content-Encoding": "gzip"}, GZIP),
        (200, {}, b"[" * 100_000),
        (200, {}, b"[]"),
        (200, {}, b"{}"),
    ],
    ids=["plain", "gzip", "nested", "list", "nothing"],
)
def test_a_token_service_of_harbor_s_that_answers_anything(answer):
    asked = (401, {"WWW-Authenticate": 'Bearer realm="{url}/service/token"'}, b"")
    with answering(asked, answer) as url, little_memory():
        source = fetch.source(f"{url}/v2", auth=TokenAuth("robot", "Secret"))
        with pytest.raises(FetchError, match="/service/token: it gives no token"):
            fetch.manifest(source, "team/a", "v1")


CHALLENGES = [
    "Bearer realm=",
    'Bearer realm="{url}/token",service=',
    'Bearer realm="{url}/token',
    'Bearer realm="http://127.0.0.1:99999999/token"',
    'Bearer realm="http://127.0.0.1:port/token"',
    'Bearer realm="http://[::1/token"',
    'Bearer realm="http://a..b/token"',
    f'Bearer realm="http://{"a" * 64}.127.0.0.1/token"',
    'Bearer realm="\x00\x7f"',
    "Bearer",
    "Bearer =,=,,=",
    'Bearer "',
    "",
    "\xff\xfe",
    f"Bearer {'a' * 50_000}",
    f"Bearer {'a=' * 25_000}",
    "Bearer " + 'a="' * 15_000,
]
HEADER = "WWW-Authenticate"
TOKENS = [
    "tok\u00e9n",
    "\ud800",
    "a token",
    "a\r\nSet-Cookie: b",
    "a\x00",
    "",
    {"a": 1},
    ["a"],
    0,
    None,
]


@pytest.mark.parametrize("login", ["", "Secret"])
@pytest.mark.parametrize("challenge", CHALLENGES, ids=range(len(CHALLENGES)))
def test_a_challenge_may_be_anything(challenge, login):
    with answering((401, {HEADER: challenge}, b"")) as url:
        who = Credentials(username=login and "alice", password=login)
        asked = Question(host="private.test", remote_url=url, credentials=who)
        assert isinstance(upstream_credentials.ask(asked), Refused | Useless | Unreachable)
        source = fetch.source(f"{url}/v2", auth=TokenAuth(who.username, login))
        with pytest.raises(FetchError):
            fetch.manifest(source, "team/a", "v1")


@pytest.mark.parametrize("key", ["token", "access_token"])
@pytest.mark.parametrize("token", TOKENS, ids=range(len(TOKENS)))
def test_a_token_may_be_anything(token, key):
    challenge = (401, {HEADER: 'Bearer realm="{url}/token"'}, b"")
    answer = (200, {}, json.dumps({key: token}).encode())
    with answering(challenge, answer, challenge) as url:
        assert "answers without a token" in str(verdict(url))
    with answering(challenge, answer, challenge) as url:
        source = fetch.source(f"{url}/v2", auth=TokenAuth("robot", "Secret"))
        with pytest.raises(FetchError, match="/token: it gives no token"):
            fetch.manifest(source, "team/a", "v1")


def test_a_refusal_despite_a_token_is_an_error_whatever_was_requested():
    challenge = (401, {HEADER: 'Bearer realm="{url}/token"'}, b"")
    turns = [challenge, (200, {}, b'{"token":"a"}'), challenge]
    with answering(*turns) as url:
        source = fetch.source(url, auth=TokenAuth("robot", "Secret"))
        with pytest.raises(RefusedError, match="may not pull"):
            fetch.begin(source, "x")


def verdict(url):
    alice = Credentials(username="alice", password="Secret")
    question = Question(host="private.test", remote_url=url, credentials=alice)
    return upstream_credentials.ask(question)


@pytest.mark.parametrize("refused", REFUSED, ids=SHAPES)
def test_an_upstream_that_refuses_at_length(refused):
    _, headers, body = refused
    asks = (401, {"WWW-Authenticate": "Basic"}, b"")
    with answering(asks, (403, headers, body)) as url, little_memory():
        assert isinstance(verdict(url), Refused)


@pytest.mark.parametrize("refused", REFUSED, ids=SHAPES)
def test_an_upstream_that_redirects_at_length(refused):
    _, headers, body = refused
    away = (307, {**headers, "Location": "{url}/elsewhere"}, body)
    with answering(away, (503, {}, b"down")) as url, little_memory():
        assert "status 503: down" in verdict(url).reason


@pytest.mark.parametrize(
    "answer",
    [(200, {}, None), (200, {"Content-Encoding": "zstd"}, ZSTD), (200, {}, b"[" * 100_000)],
    ids=["plain", "zstd", "nested"],
)
def test_a_token_service_that_answers_anything(answer):
    asks = (401, {"WWW-Authenticate": 'Bearer realm="{url}/token"'}, b"")
    with answering(asks, answer) as url, little_memory():
        useless = verdict(url)
    assert isinstance(useless, Useless)
    assert "answers without a token" in useless.reason


def test_a_short_answer_is_not_changed():
    with answering((200, {}, b"12345")) as url:
        for most, left in ((5, b"12345"), (4, b"1234")):
            hooks = {"response": [lambda answer, most=most: answers.cut(answer, most)]}
            with httpx.Client(event_hooks=hooks) as client:
                assert client.get(url).content == left
