"""Upstreams in the process of a test: web servers that answer what the test says, or nothing."""

import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace

from plan.upstreams import KNOWN

JSON = [("Content-Type", "application/json")]
PAGE = [("Content-Type", "text/html; charset=utf-8")]
BASIC = [("WWW-Authenticate", 'Basic realm="team"')]
OPEN = (200, JSON, b"{}")
NOT_FOUND = (404, JSON, b'{"errors":[{"code":"NAME_UNKNOWN"}]}')
WANTS_LOGIN = (401, BASIC, b"")
ISSUED = (200, JSON, b'{"token":"a-token"}')


def of(**answers):
    """Answers by what is asked for: `v2`, `token`, `manifest`, `blob`.

    Where nothing is said of them, a token is given to anyone, and all else is not found.
    """
    answers = {"token": ISSUED, **answers}

    def answer(request):
        kind = "v2" if request.path == "/v2/" else request.path.split("/")[1].partition("?")[0]
        if "/manifests/" in request.path:
            kind = "manifest"
        if "/blobs/" in request.path:
            kind = "blob"
        said = answers.get(kind, NOT_FOUND)
        return said(request) if callable(said) else said

    return answer


def bearer(realm):
    """Who wants a token of this service."""
    return 401, [("WWW-Authenticate", f'Bearer realm="{realm}",service="s"')], b""


def wants_token(request):
    """Of its own service."""
    return bearer(f"http://{request.headers['Host']}/token")


def with_token(answer):
    """`answer` to a request with one."""
    return lambda request: answer if request.headers.get("Authorization") else wants_token(request)


def with_login(answer):
    """`answer` to a request with a user name."""
    return lambda request: answer if request.headers.get("Authorization") else WANTS_LOGIN


def quay(public=(), token=ISSUED):
    """Quay's answers, as its `endpoints/v2` makes them, if it has these public repositories.

    To `/v2/` it says `true`, which Flask calls a web page; and how to log in, also at 200. There an
    anonymous token is not a login. What does not exist wants one, and so does what is private.
    """

    def challenge(request, scope=""):
        here = f"http://{request.headers['Host']}"
        asks = f'Bearer realm="{here}/v2/auth",service="quay.example.com"{scope}'
        return [("WWW-Authenticate", asks), ("Docker-Distribution-API-Version", "registry/2.0")]

    def answer(request):
        path = request.path.partition("?")[0]
        who = request.headers.get("Authorization", "")
        if path == "/v2/auth":
            somebody = (200, JSON, b'{"token":"somebodys"}')
            return somebody if who.startswith("Basic ") else token
        if path == "/v2/":
            known = who == "Bearer somebodys"
            return 200 if known else 401, [*PAGE, *challenge(request)], b"true"
        repository = path.removeprefix("/v2/").partition("/manifests/")[0]
        if repository in public:
            return 200, [("Content-Type", "application/vnd.oci.image.index.v1+json")], b"{}"
        said = b'{"errors":[{"code":"UNAUTHORIZED","detail":{},"message":"access to the requested '
        said += b'resource is not authorized"}]}\n'
        return 401, [*JSON, *challenge(request, f',scope="repository:{repository}:pull"')], said

    return answer


def put_at(monkeypatch, host, url):
    """Have a known upstream, such as docker.io, be at this URL."""
    monkeypatch.setitem(KNOWN, host, replace(KNOWN[host], remote_url=url))


@contextmanager
def taking(serve):
    """The address of a server that passes each connection to `serve`, which closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept():
            with suppress(OSError):  # the end of it
                while True:
                    serve(listening.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield address_of(listening)
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def silent():
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=20) as listening:
        yield address_of(listening)


@contextmanager
def refusing():
    """An address that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield address_of(taken)


def address_of(bound):
    return "{}:{}".format(*bound.getsockname())
