"""Every command in the README is run here or by another test, or stands in its one list."""

import re

import pytest

from tests.checkout import ROOT
from tests.e2e.sweep import PREFIX

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]
# Commands that this module does not run, and why that is honest.
ELSEWHERE = {
    "make demo": "tests/e2e/test_demo.py",
    "make up": "run below, on other ports than a developer's own caches have",
    "make down": "run below, likewise",
    "make clean": "run below, likewise",
    "make up STACK=docker-cluster": "tests/talos, with upstreams of its own",
    "make outputs STACK=docker-cluster": "tests/talos, likewise",
    "make cluster-down STACK=docker-cluster": "tests/talos, likewise",
    "make cluster-up STACK=docker-cluster": "tests/talos, likewise",
    "docker volume rm $(docker volume ls -q --filter label=talos-cache.project)": "in the list",
}
NOT_RUN = README.split("## What has not been run")[1]


@pytest.fixture(scope="module")
def mine(docker_stack_lock, checkout):
    """The stages' commands on a stack of one's own, so that nobody's caches are in the way."""
    shown = checkout.run("make", "stack", "NAME=mine", "FROM=docker").stdout
    assert "stacks/Pulumi.mine.yaml is yours to edit" in shown
    checkout.write_stack(
        "mine", prefix=f"{PREFIX}-mine", basePort=15170, cache={"onDestroy": "delete"}
    )
    checkout.make("up", "mine")
    return checkout


def test_every_command_is_accounted_for():
    tested = {
        "make outputs",
        "make stack NAME=mine FROM=docker",
        'eval "$(make -s setup)"',
        "pulumi stack select --create docker",
        "pulumi preview",
        "curl -s -o /dev/null -w '%{http_code}\\n' http://127.0.0.1:5000/v2/",
        "pulumi config set --secret --path 'credentials[\"docker.io\"].username' NAME",
        "pulumi config set --secret --path 'credentials[\"docker.io\"].password'",
    }
    assert set(COMMANDS) == tested | set(ELSEWHERE)
    assert "docker volume rm" in " ".join(NOT_RUN.split()), "wherever the lines are broken"


def test_the_cache_answers_as_stage_2_says(mine):
    line = next(line for line in COMMANDS if line.startswith("curl"))
    shown = mine.run("sh", "-c", line.replace(":5000/", ":15170/")).stdout
    assert shown.strip() == "200"


def test_a_preview_right_after_up_ends_with_unchanged(mine):
    shown = mine.make("preview", "mine").stdout
    assert shown.strip().splitlines()[-1].endswith("unchanged")


def test_the_outputs_table_names_every_output(mine):
    shown = mine.make("outputs", "mine").stdout
    exported = set(re.findall(r"^# (\w+)$", shown, re.MULTILINE))
    table = README.split("```sh\nmake outputs\n```")[1].split("To patch")[0]
    assert exported == set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))


def test_plain_pulumi_works_in_a_shell_that_evaluated_the_set_up(mine):
    block = next(b for b in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "eval" in b)
    mine.stacks.add("docker")
    shown = mine.run("bash", "-euc", block)
    assert "Resources:" in shown.stdout


def test_clean_refuses_while_a_stack_is_up_and_keeps_the_passphrase_that_one_needs(mine):
    done = mine.run("make", "clean", check=False)
    assert done.returncode != 0
    assert "the stack 'mine' is up: make down STACK=mine" in done.stderr
    mine.make("down", "mine")
    assert mine.volumes(f"{PREFIX}-mine") == set(), "onDestroy: delete"
    mine.stacks.clear()
    kept = mine.run("make", "clean").stderr
    left = [path.name for path in (mine.path / ".work").rglob("*")]
    assert sorted(left) == ["passphrase", "private"]
    assert f"kept {mine.path}/.work/private/passphrase: what stacks/Pulumi.mine.yaml can" in kept
    (mine.path / "stacks" / "Pulumi.mine.yaml").unlink()
    mine.run("make", "clean")
    assert not (mine.path / ".work").exists()
