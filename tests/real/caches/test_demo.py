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


@pytest.fixture(scope="module")
def other(tmp_path_factory, docker_client):
    with checked_out(tmp_path_factory.mktemp("other"), docker_client) as made:
        yield made


def test_a_kept_demo_is_left_alone_by_others_and_the_next_one_sweeps_it_and_proves_every_step(
    checkout, other
):
    shown = checkout.run("make", "demo", "KEEP=1").stdout
    assert "Kept:" in shown
    kept = there(checkout)
    assert f"{PREFIX}-docker.io" in kept
    refused = other.run("make", "demo", check=False)
    assert refused.returncode != 0
    assert str(checkout.path) in refused.stderr
    assert there(checkout) == kept
    assert_proved(checkout.run("make", "demo").stdout)
    assert there(checkout) == set(), "no container and no volume is left"
    assert not (checkout.path / ".work" / "demo").exists(), "no state is left"


def assert_proved(shown):
    """Every step that the README promises."""
    readme = (ROOT / "README.md").read_text()
    promised = readme.split("<!-- demo -->\n```\n")[1].split("```")[0]
    steps = re.sub(r"\b\d+(\.\d)? s\b", "… s", shown).splitlines()
    proved = [line for line in steps if line.startswith(("  ok  ", "Proved in"))]
    assert proved == promised.splitlines()


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
