"""Which passphrase a stack has: the public one, the user's own, or this checkout's."""

import re
import subprocess
from pathlib import Path

import pytest

from host import passphrases, pulumi_backend
from host.docker_endpoint import Endpoint
from host.passphrases import ASIDE, PASSPHRASE, PASSPHRASE_FILE, PUBLIC_SALTS, PUBLIC_STACKS
from host.paths import ROOT
from toolchain import __main__ as toolchain
from toolchain import environment

COMMITTED = ROOT / "stacks"
USUAL = Endpoint(url="unix:///var/run/docker.sock")
OWN_SALT = "v1:AAAAAAAAAAA=:v1:BBBB:CCCC"


@pytest.fixture
def checkout(monkeypatch, tmp_path):
    """A checkout without a stack file, and a shell in which nothing was chosen."""
    work = tmp_path / ".work"
    for module, name, value in (
        (passphrases, "PRIVATE", work / "private"),
        (passphrases, "STACKS", tmp_path / "stacks"),
        (toolchain, "PRIVATE", work / "private"),
        (toolchain, "ROOT", tmp_path),
        (toolchain, "WORK", work),
        (toolchain, "LOCK", work / "lock"),
        (toolchain, "STATE", work / "state"),
        (toolchain, "DEMO_STATE", work / "demo" / "state"),
        (pulumi_backend, "STATE", work / "state"),
    ):
        monkeypatch.setattr(module, name, value)
    for variable in (*ASIDE, *ASIDE.values()):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "stacks").mkdir()
    return tmp_path


def write_stack(checkout, name, salt):
    file = checkout / "stacks" / f"Pulumi.{name}.yaml"
    file.write_text(f"config:\n  talos-cache:prefix: a\nencryptionsalt: {salt}\n")
    return file


def exported(stack):
    found = environment.exports(stack, USUAL)
    return {name: found[name] for name in (PASSPHRASE, PASSPHRASE_FILE) if name in found}


def file_of(checkout, name="passphrase"):
    return str(checkout / ".work" / "private" / name)


def test_the_public_salts_are_those_of_the_committed_files():
    committed = [passphrases.salt_of(COMMITTED / f"Pulumi.{stack}.yaml") for stack in PUBLIC_STACKS]
    assert tuple(committed) == PUBLIC_SALTS


def test_a_stack_of_ones_own_has_this_checkouts(checkout):
    assert exported("mine") == {PASSPHRASE_FILE: file_of(checkout)}


def test_a_stack_that_was_renamed_keeps_the_public_one(checkout):
    write_stack(checkout, "mine", PUBLIC_SALTS[0])
    assert exported("mine") == {PASSPHRASE_FILE: file_of(checkout, "passphrase-public")}


@pytest.mark.parametrize("value", ["ours", ""])
def test_the_users_own_passphrase_is_theirs(checkout, monkeypatch, capsys, value):
    monkeypatch.setenv(PASSPHRASE, value)
    assert exported("mine") == {}, "it is in the environment already"
    assert f"your own {PASSPHRASE} for the stack mine" in capsys.readouterr().err
    assert exported("docker")[PASSPHRASE] == "", "but not for a public stack"


@pytest.mark.parametrize("file", ["/home/me/team-passphrase", "/home/me/private/passphrase"])
def test_the_users_own_file_is_theirs(checkout, monkeypatch, file):
    monkeypatch.setenv(PASSPHRASE_FILE, file)
    assert exported("mine") == {}
    assert exported("docker") == {PASSPHRASE_FILE: file_of(checkout, "passphrase-public")}


@pytest.mark.parametrize("name", ["passphrase", "passphrase-public"])
@pytest.mark.parametrize("where", ["here", "in another checkout"])
def test_what_a_set_up_has_named_is_not_the_users_own(checkout, monkeypatch, name, where, capsys):
    """It is known by its place: an older version's set-up has left no other sign in the shell."""
    folder = checkout if where == "here" else Path("/home/me/other checkout")
    monkeypatch.setenv(PASSPHRASE_FILE, file_of(folder, name))
    assert exported("mine") == {PASSPHRASE_FILE: file_of(checkout)}
    warned = PASSPHRASE_FILE in capsys.readouterr().err
    assert warned == (where != "here" and name == "passphrase")
    assert exported("docker") == {PASSPHRASE_FILE: file_of(checkout, "passphrase-public")}
    assert PASSPHRASE_FILE not in capsys.readouterr().err


def test_a_file_that_the_user_chooses_after_a_set_up_is_theirs(checkout, monkeypatch):
    for name, value in environment.exports("docker", USUAL).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(PASSPHRASE_FILE, "/home/me/team-passphrase")
    assert exported("mine") == {}


class Shell:
    """A real shell that takes over a set-up's lines, as `eval "$(make -s setup)"` does."""

    def __init__(self, monkeypatch):
        self._monkeypatch = monkeypatch
        self.shown = ""

    def set_up(self, stack):
        lines = environment.shell_lines(environment.exports(stack, USUAL))
        self.shown += lines
        printed = subprocess.run(
            ["sh", "-euc", f"{lines}\nenv -0"], capture_output=True, text=True, check=True
        ).stdout
        after = dict(line.split("=", 1) for line in printed.rstrip("\0").split("\0"))
        for name in (*ASIDE, *ASIDE.values()):
            self._monkeypatch.delenv(name, raising=False)
            if name in after:
                self._monkeypatch.setenv(name, after[name])
        return {name: after[name] for name in ASIDE if name in after}


@pytest.fixture
def shell(monkeypatch):
    return Shell(monkeypatch)


@pytest.mark.parametrize("value", ['it\'s $HOME "and" a `line`\n', ""])
def test_the_users_own_is_back_after_a_public_stack(checkout, monkeypatch, shell, value):
    monkeypatch.setenv(PASSPHRASE, value)
    for _ in range(2):
        public = {PASSPHRASE_FILE: file_of(checkout, "passphrase-public")}
        assert shell.set_up("docker") == shell.set_up("qemu") == public
        assert shell.set_up("mine") == shell.set_up("mine") == {PASSPHRASE: value}
    assert not value or value not in shell.shown, "a terminal shows these lines"
    monkeypatch.delenv(PASSPHRASE)
    assert shell.set_up("mine") == {PASSPHRASE_FILE: file_of(checkout)}, "nothing is kept for ever"


def test_the_users_own_file_is_back_after_a_public_stack(checkout, monkeypatch, shell):
    team = {PASSPHRASE_FILE: "/home/me/team passphrase"}
    monkeypatch.setenv(PASSPHRASE_FILE, team[PASSPHRASE_FILE])
    shell.set_up("docker")
    assert shell.set_up("mine") == team
    both = {**team, PASSPHRASE: "team"}
    monkeypatch.setenv(PASSPHRASE, "team")
    shell.set_up("docker")
    assert shell.set_up("mine") == both


def test_the_last_choice_counts(checkout, monkeypatch, shell):
    other = {PASSPHRASE_FILE: "/home/me/other"}
    monkeypatch.setenv(PASSPHRASE, "team")
    shell.set_up("docker")
    monkeypatch.setenv(PASSPHRASE_FILE, other[PASSPHRASE_FILE])
    shell.set_up("docker")
    assert shell.set_up("mine") == other
    monkeypatch.setenv(PASSPHRASE, "team")
    shell.set_up("docker")
    monkeypatch.setenv(PASSPHRASE_FILE, "/home/me/other")
    assert shell.set_up("mine") == other
    monkeypatch.delenv(PASSPHRASE_FILE)
    assert shell.set_up("mine") == {PASSPHRASE_FILE: file_of(checkout)}


def test_a_passphrase_that_is_set_aside_is_reported(checkout, monkeypatch, shell, capsys):
    monkeypatch.setenv(PASSPHRASE, "team")
    shell.set_up("docker")
    assert "docker has a public passphrase; yours is kept" in capsys.readouterr().err
    shell.set_up("mine")
    assert f"your own {PASSPHRASE} for the stack mine" in capsys.readouterr().err


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_the_salt_of_a_stack_is_found_however_it_is_written(checkout, quote):
    file = write_stack(checkout, "mine", f"{quote}{OWN_SALT}{quote}")
    assert passphrases.salt_of(file) == OWN_SALT
    file.write_text("config: {}\n")
    assert passphrases.salt_of(file) is None


def test_clean_keeps_the_passphrase_of_a_stack_and_says_where_it_is(checkout, capsys):
    file = write_stack(checkout, "mine", OWN_SALT)
    secret = Path(environment.exports("mine", USUAL)[PASSPHRASE_FILE])
    text = secret.read_text()
    (checkout / ".work" / "bin").mkdir()
    environment.exports("docker", USUAL)
    (checkout / ".work" / "link").symlink_to(checkout / "stacks")
    toolchain.clean()
    left = [path.name for path in (checkout / ".work").rglob("*")]
    assert sorted(left) == ["passphrase", "private"]
    assert (checkout / "stacks").exists(), "what a link leads to is not the link"
    assert secret.read_text() == text
    printed = capsys.readouterr().err
    assert re.search(r"/\.work/private/passphrase: .*stacks/Pulumi\.mine\.yaml", printed)
    file.unlink()
    toolchain.clean()
    assert not (checkout / ".work").exists()


def test_clean_keeps_nothing_for_stacks_that_need_no_secret(checkout):
    write_stack(checkout, "docker", PUBLIC_SALTS[0])
    environment.exports("docker", USUAL)
    toolchain.clean()
    assert not (checkout / ".work").exists()
