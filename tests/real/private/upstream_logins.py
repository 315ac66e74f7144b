"""Upstreams that are asked with a login: Alice's, of which no verdict may show the password."""

from ops.registry.upstream_credentials import ask
from ops.registry.verdicts import Question, Refused
from plan.settings.credentials import Credentials
from tests.fakes.web_server import answering

HOST, ALICE, PASSWORD = "private.test", "alice", 'ge/heim+ &"<1>'
NAME = "registry.private.test"
LOGIN = Credentials(username=ALICE, password=PASSWORD)


def question(url, password=PASSWORD, username=ALICE, **more):
    login = Credentials(username=username, password=password)
    return Question(host=HOST, remote_url=url, credentials=login, **more)


def verdict_on(*args, **kwargs):
    """The verdict; it never has the password in it."""
    asked = question(*args, **kwargs)
    verdict = ask(asked)
    assert asked.credentials.password not in f"{verdict} {verdict!r} {asked!r}"
    return verdict


def verdict_of(answer, *args, **kwargs):
    """The verdict on an upstream that answers so."""
    with answering(answer) as upstream:
        return verdict_on(upstream.url, *args, **kwargs)


def refused(status, message):
    """Of these credentials."""
    fix = f'correct credentials["{HOST}"]'
    return Refused(host=HOST, reason=f"({status}): {message}", fix=fix)
