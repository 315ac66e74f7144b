"""`make demo`, the main job, as a new user runs it."""

import re
import subprocess

import pytest

from ops.docker import api
from tests.checkout import ROOT, checked_out

PREFIX = "talos-cache-demo"


def there(checkout):
    """Everything in Docker that carries the demo's name."""
    containers = {container.name for container in api.containers(checkout.client)}
    return {name for name in containers | checkout.volumes("") if name.startswith(PREFIX)}


def test_the_demo_proves_every_step_and_leaves_nothing(checkout):
    shown = checkout.run("make", "demo").stdout
    readme = (ROOT / "README.md").read_text()
    promised = readme.split("<!-- demo -->\n```\n")[1].split("```")[0]
    told = re.sub(r"\b\d+(\.\d)? s\b", "… s", shown).splitlines()
    proved = [line for line in told if line.startswith(("  ok  ", "Proved in"))]
    assert proved == promised.splitlines()
    assert there(checkout) == set(), "no container and no volume is left"
    assert not (checkout.path / ".work" / "demo").exists(), "no state is left"


def test_a_demo_that_is_kept_is_swept_by_the_next_one(checkout):
    shown = checkout.run("make", "demo", "KEEP=1").stdout
    assert "Kept:" in shown
    assert f"{PREFIX}-docker.io" in there(checkout)
    checkout.run("make", "demo")
    assert there(checkout) == set()


@pytest.fixture(scope="module")
def other(tmp_path_factory, docker_client):
    with checked_out(tmp_path_factory.mktemp("other"), docker_client) as made:
        yield made


def test_two_checkouts_have_their_demos_one_after_the_other(checkout, other):
    processes = [
        subprocess.Popen(
            ["make", "demo"],
            cwd=each.path,
            env=each.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for each in (checkout, other)
    ]
    shown = [process.communicate(timeout=checkout.seconds * 3)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(shown)
    assert there(checkout) == set()


def test_a_demo_that_another_checkout_has_kept_is_left_alone(checkout, other):
    checkout.run("make", "demo", "KEEP=1")
    before = there(checkout)
    refused = other.run("make", "demo", check=False)
    assert refused.returncode != 0
    assert f"left of a demo in {checkout.path}" in refused.stderr
    assert there(checkout) == before
    checkout.run("make", "demo")
    assert there(checkout) == set()
