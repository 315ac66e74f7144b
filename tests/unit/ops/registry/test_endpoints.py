"""How an endpoint answers this machine, and what busybox says of one in a container."""

import shutil
import socket
import ssl
import subprocess
import threading

import pytest

from ops.registry import endpoints
from plan.diagnosis import ANSWERS, Answer
from tests.fakes.web_server import WELL, answering, free_port


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, ANSWERS),
        (401, ANSWERS),
        (404, Answer(why_not="no registry answers (status 404)")),
        (503, Answer(why_not="no registry answers (status 503)")),
    ],
)
def test_a_server_is_asked_for_v2_whatever_path_the_endpoint_has(status, answer):
    with answering((status, [], b"")) as server:
        assert endpoints.answer(f"{server.url}/v2/some/project") == answer
    assert server.asked == [("GET", "/v2/")]


def test_a_server_that_is_not_there():
    found = endpoints.answer(f"http://127.0.0.1:{free_port()}")
    assert found == Answer(why_not="nothing answers (Connection refused)")


def test_a_server_that_says_nothing(monkeypatch):
    monkeypatch.setattr(endpoints, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        found = endpoints.answer(f"http://127.0.0.1:{mute.getsockname()[1]}")
    assert found.silent


def test_a_server_that_speaks_something_else():
    with socket.create_server(("127.0.0.1", 0)) as other:
        greeter = threading.Thread(target=lambda: other.accept()[0].sendall(b"SSH-2.0\r\n\r\n"))
        greeter.start()
        found = endpoints.answer(f"http://127.0.0.1:{other.getsockname()[1]}")
        greeter.join()
    assert found.why_not.startswith("nothing answers (")
    assert not found.silent


def test_what_is_not_a_url_is_not_requested():
    assert endpoints.answer("172.17.0.1:5000") == endpoints.NO_URL
    assert endpoints.answer("http://127.0.0.1:port") == endpoints.NO_URL


def test_a_server_with_a_certificate_of_its_own_answers_and_one_without_does_not(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("makes its certificate with openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=nobody"]
    argv += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(argv, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with answering(WELL, context) as server:
        assert endpoints.answer(server.url) == ANSWERS
        assert server.asked == [("GET", "/v2/")]
    with answering(WELL) as server:
        url = server.url.replace("http:", "https:")
        assert "SSL" in endpoints.answer(url).why_not.upper()


@pytest.mark.parametrize(
    ("line", "https", "why_not"),
    [
        ("0 0 HTTP/1.0 200 OK", False, None),
        ("0 0 HTTP/1.1 401 Unauthorized\r", False, None),
        ("0 0 HTTP/1.1 502 Bad Gateway", False, "no registry answers (status 502)"),
        ("0 0 SSH-2.0-OpenSSH", False, "something answers that is not a registry"),
        ("0 0", False, "something answers that is not a registry"),
        ("0 0", True, None),
        ("0 1 nc: bad address 'nowhere'", True, "nothing answers (bad address 'nowhere')"),
        (
            "0 1 nc: can't connect to remote host (10.0.0.1): Connection refused",
            False,
            "nothing answers (Connection refused)",
        ),
        ("0 1 nc: timed out", False, endpoints.SILENT.why_not),
        ("0 143", False, endpoints.SILENT.why_not),
        ("0 124", True, endpoints.SILENT.why_not),
        ("7 0 HTTP/1.0 200 OK", False, "nothing answers (no output)"),
        ("sh: something went wrong", False, "nothing answers (no output)"),
    ],
)
def test_what_busybox_says_in_a_container(line, https, why_not):
    found = endpoints._of_nc(endpoints._by_number(line).get(0), https=https)
    assert found.why_not == why_not
    assert found.silent is (why_not == endpoints.SILENT.why_not)
