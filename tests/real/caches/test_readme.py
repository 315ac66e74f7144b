"""Every command in the README and in docs/ is run here or by another test, or stands in a list."""

import re
import shlex

import pytest
import yaml

from host.passphrases import PUBLIC_STACKS
from tests.checkout import ROOT
from tests.real.caches.sweep import PREFIX

README = (ROOT / "README.md").read_text()
PAGES = {page.name: page.read_text() for page in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
COMMANDS = [
    line.strip()
    for text in PAGES.values()
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    for line in re.sub(r"\\\n\s*", "", block).splitlines()
]
LIKEWISE = "tests/real/talos, with upstreams of its own"
TRAFFIC = "tests/real/caches/test_traffic.py, where there are requests"
SECRET = "tests/secrets.py sets them so, for tests/real/private; tests/test_docs.py knows the keys"
# Commands that this module does not run, and why that is honest.
ELSEWHERE = {
    "make demo": "tests/real/caches/test_demo.py",
    "make test": "this is one of them",
    "make up": "run below, on other ports than a developer's own caches have",
    "make preview": "run below, likewise",
    "make down": "run below, likewise",
    "make clean": "run below, likewise",
    "make up STACK=mine": "run below",
    'eval "$(make -s setup STACK=docker-cluster)"': "run below, for other stacks",
    "talos-cache warm --stack docker-cluster --images images.txt": "run below, likewise",
    "talos-cache verify --stack docker-cluster --images images.txt": "run below, likewise",
    "talos-cache logs docker.io --stack docker --since 10m": TRAFFIC,
    "talos-cache logs --stack docker --misses --follow": TRAFFIC,
    "make up STACK=docker-cluster": LIKEWISE,
    "make outputs STACK=docker-cluster ARGS=clusters": LIKEWISE,
    "make cluster-down STACK=docker-cluster": LIKEWISE,
    "make cluster-up STACK=docker-cluster": LIKEWISE,
    **{
        f"pulumi config set --secret --path {key}": SECRET
        for key in (
            "'credentials[\"docker.io\"].username'",
            "'credentials[\"docker.io\"].password'",
            "cacheLogin.username",
            "cacheLogin.password",
            "harborAdmin.username",
            "harborAdmin.password",
        )
    },
}
# Commands that no test runs: docs/testing.md says so.
NOT_RUN = ("docker volume rm ", "helm install ")
PATCH = "make -s outputs ARGS=machineConfigPatch > mirrors.yaml"
SET_UP = 'eval "$(make -s setup STACK=mine)"'
# Command -> what it says of caches that hold nothing, while their upstreams don't have the image.
# What these do where there is something is tested in tests/real/offline, and in TRAFFIC.
BY_IMAGES = {
    "talos-cache verify --stack docker --images images.txt": "0 of 1 images are complete",
    "talos-cache warm --stack docker --images images.txt": (
        "1 images: 0 complete before, 0 fetched, 1 failed"
    ),
    "talos-cache repair --stack docker": "0 blobs hashed, 0 damaged",
    "talos-cache export --stack docker talos.tar.zst": "the caches hold no image",
    "talos-cache import --stack docker talos.tar.zst": "talos.tar.zst can't be read",
    "talos-cache prune --stack docker --to 20GB --keep images.txt": "images",
    "talos-cache doctor --stack docker": " ok, ",
    "talos-cache status --stack docker": "factory.talos.dev",
    "talos-cache list --stack docker --sort size": "the caches have no images",
    "talos-cache list docker.io --stack docker --unused-since 30d --larger 100MB": "no images",
    "talos-cache purge docker.io/library/busybox:1.36 --stack docker": "the caches do not have",
    "talos-cache purge docker.io/library/busybox:1.36 --stack docker --yes": "nothing was removed",
}


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
        PATCH,
        *BY_IMAGES,
        "make stack NAME=mine FROM=docker",
        'eval "$(make -s setup)"',
        "pulumi stack select --create docker",
        "pulumi preview",
        "curl -s -o /dev/null -w '%{http_code}\\n' http://127.0.0.1:5000/v2/",
        SET_UP,
        f"{SET_UP} && pulumi stack select mine",
        "talos-cache verify --stack mine --images images.txt",
    }
    there = {command for command in COMMANDS if not command.startswith(NOT_RUN)}
    assert there == tested | set(ELSEWHERE)


def test_what_is_not_run_is_told():
    told = " ".join(PAGES["testing.md"].split("## What has not been run")[1].split())
    assert [command for command in NOT_RUN if command.strip() not in told] == []


def test_the_cache_answers_as_stage_2_says(mine):
    line = next(line for line in COMMANDS if line.startswith("curl"))
    shown = mine.run("sh", "-c", line.replace(":5000/", ":15170/")).stdout
    assert shown.strip() == "200"


def test_a_preview_right_after_up_ends_with_unchanged(mine):
    shown = mine.make("preview", "mine").stdout
    promised = README.split("<!-- preview -->\n```\n")[1].split("```")[0]
    assert shown.split()[-3:] == promised.split()


def test_the_outputs_table_names_every_output(mine):
    shown = mine.make("outputs", "mine").stdout
    exported = set(re.findall(r"^# (\w+)$", shown, re.MULTILINE))
    table = README.split("everything that the stack exports:")[1].split("Whether a node")[0]
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
def test_talos_cache_takes_its_lines_in_any_folder(mine, tmp_path, command):
    (tmp_path / "images.txt").write_text("docker.io/library/hello:never\n")
    line = command.replace("--stack docker", "--stack mine")
    there = f"cd {shlex.quote(str(tmp_path))} && {line}"
    done = mine.run("sh", "-c", there, check=False, env=mine.shell_env("mine"))
    said = done.stdout + done.stderr
    assert BY_IMAGES[command] in said
    assert "usage:" not in said
    assert "Traceback" not in said


def test_make_takes_the_same_options(mine):
    (mine.path / "images.txt").write_text("docker.io/library/hello:never\n")
    done = mine.make("verify", "mine", "ARGS=--images images.txt", check=False)
    assert "0 of 1 images are complete" in done.stdout


def test_plain_pulumi_works_in_a_shell_that_evaluated_the_set_up(mine):
    page = PAGES["commands.md"].split("## Plain pulumi")[1]
    block = re.search(r"```sh\n(.*?)```", page, re.DOTALL)[1]
    assert "pulumi preview" in block
    mine.stacks.add("docker")
    shown = mine.run("bash", "-euc", block)
    assert "Resources:" in shown.stdout


def test_a_shell_is_set_up_for_a_stack_of_ones_own(mine):
    line = next(line for line in COMMANDS if line.startswith(f"{SET_UP} && "))
    shown = mine.run("bash", "-euc", f"{line} && pulumi stack --show-name").stdout
    assert shown.strip() == "mine"


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
    assert re.search(
        rf"kept {re.escape(str(mine.path))}/\.work/private/passphrase: .*{named}", kept
    )
    for path in own:
        path.unlink()
    mine.run("make", "clean")
    assert not (mine.path / ".work").exists()
