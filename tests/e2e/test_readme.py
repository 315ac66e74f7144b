"""Every command in the README is run here or by another test, or stands in its one list."""

import re

import pytest
import yaml

from host.passphrases import PUBLIC_STACKS
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
PATCH = "make -s outputs ARGS=machineConfigPatch > mirrors.yaml"
# Command -> what it says of caches that hold nothing, while their upstreams don't have the image.
# What these do where there is something is tested in tests/offline.
BY_IMAGES = {
    "make verify ARGS='--images images.txt'": "0 of 1 images are complete",
    "make warm ARGS='--images images.txt'": "1 images: 0 complete before, 0 fetched, 1 failed",
    "make repair": "0 blobs hashed, 0 damaged",
    "make export ARGS=talos.tar.zst": "the caches hold no image",
    "make import ARGS=talos.tar.zst": "talos.tar.zst can't be read",
    "make prune ARGS='--to 20GB --keep images.txt'": "images",
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
        PATCH,
        *BY_IMAGES,
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


def test_the_patch_is_written_by_a_shell_that_nothing_was_set_up_for(mine):
    mine.run("bash", "-euc", PATCH.replace("make ", "make STACK=mine "))
    kinds = [one["kind"] for one in yaml.safe_load_all((mine.path / "mirrors.yaml").read_text())]
    assert kinds == ["RegistryMirrorConfig"] * 6


def test_an_output_that_there_is_not_writes_nothing(mine):
    done = mine.run("bash", "-euc", "make -s outputs STACK=mine ARGS=patch", check=False)
    assert (done.returncode != 0, done.stdout) == (True, "")
    assert "there is no output patch; the outputs are caches, " in done.stderr


@pytest.mark.parametrize("command", BY_IMAGES)
def test_the_lines_of_stage_5_are_taken(mine, command):
    (mine.path / "images.txt").write_text("docker.io/library/hello:never\n")
    done = mine.run("sh", "-c", f"{command} STACK=mine", check=False)
    said = done.stdout + done.stderr
    assert BY_IMAGES[command] in said
    assert "usage:" not in said
    assert "Traceback" not in said


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
    own = sorted(
        path
        for path in (mine.path / "stacks").glob("Pulumi.*.yaml")
        if "encryptionsalt" in path.read_text() and path.name.split(".")[1] not in PUBLIC_STACKS
    )
    named = ", ".join(f"stacks/{path.name}" for path in own)
    assert "stacks/Pulumi.mine.yaml" in named
    assert f"kept {mine.path}/.work/private/passphrase: what {named} can" in kept
    for path in own:
        path.unlink()
    mine.run("make", "clean")
    assert not (mine.path / ".work").exists()
