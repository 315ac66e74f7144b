"""Whether a passphrase is wrong, and what is reported then."""

import pytest

from host import passphrases
from host.passphrases import ASIDE, PASSPHRASE, PASSPHRASE_FILE, PUBLIC_SALTS
from ops import passphrase
from ops.passphrase import advice, opens

# Made by the engine, of the passphrase that follows.
SALT = PUBLIC_SALTS[0]
RIGHT = "talos-cache"


@pytest.fixture
def stack(monkeypatch, tmp_path):
    """A stack's file with this salt, and nothing else in this checkout."""
    monkeypatch.setattr(passphrases, "STACKS", tmp_path / "stacks")
    monkeypatch.setattr(passphrase, "PRIVATE", tmp_path / "private")
    # As if it were a user's own.
    monkeypatch.setattr(passphrase, "PUBLIC_PASSPHRASE", "not this one")
    monkeypatch.delenv(PASSPHRASE, raising=False)
    monkeypatch.delenv(PASSPHRASE_FILE, raising=False)
    (tmp_path / "stacks").mkdir()
    (tmp_path / "private").mkdir()
    (tmp_path / "stacks" / "Pulumi.mine.yaml").write_text(f"encryptionsalt: {SALT}\n")
    return tmp_path


def test_the_engines_own_salts_are_opened_by_their_passphrase_alone():
    assert all(opens(salt, RIGHT) for salt in PUBLIC_SALTS)
    assert not opens(SALT, "talos-cach")


@pytest.mark.parametrize("salt", ["v2:a:b", "v1:!:v1:!:!", "v1:AAAA:v1:AAAA:AAAA"])
def test_a_salt_that_cant_be_read_is_not_the_passphrases_fault(salt):
    assert opens(salt, "any")


def test_there_is_no_advice_if_the_passphrase_is_right_or_there_is_none(stack, monkeypatch):
    assert advice("mine") is None
    monkeypatch.setenv(PASSPHRASE_FILE, str(stack / "missing"))
    assert advice("mine") is None
    monkeypatch.setenv(PASSPHRASE, RIGHT)
    assert advice("mine") is None
    monkeypatch.setenv(PASSPHRASE, "wrong")
    assert advice("without-a-file") is None


def test_a_file_with_an_end_of_line_is_read_as_the_engine_does(stack, monkeypatch):
    (stack / "file").write_text(f"{RIGHT}\n")
    monkeypatch.setenv(PASSPHRASE_FILE, str(stack / "file"))
    assert advice("mine") is None


def test_for_a_lost_one_the_advice_says_where_it_was_and_how_to_do_without(stack, monkeypatch):
    (stack / "file").write_text("wrong")
    monkeypatch.setenv(PASSPHRASE_FILE, str(stack / "file"))
    text = advice("mine")
    assert f"{stack}/file is not the passphrase that stacks/Pulumi.mine.yaml" in text
    assert f"{stack}/private/passphrase" in text
    assert "make adopt STACK=mine" in text


def test_the_checkouts_own_is_named_if_it_fits(stack, monkeypatch):
    (stack / "private" / "passphrase").write_text(RIGHT)
    monkeypatch.setenv(PASSPHRASE, "wrong")
    text = advice("mine")
    assert text.startswith(f"your {PASSPHRASE} is not the passphrase")
    assert f"{stack}/private/passphrase is right: unset {PASSPHRASE} " in text
    # Or the next set-up, in the same shell, would bring it back.
    assert all(f" {place}" in text for place in ASIDE.values())


@pytest.mark.parametrize("name", [PASSPHRASE, PASSPHRASE_FILE])
def test_the_one_that_the_shell_has_kept_is_brought_back_if_it_fits(stack, monkeypatch, name):
    (stack / "mine").write_text(RIGHT)
    (stack / "public").write_text("wrong")
    monkeypatch.setenv(PASSPHRASE_FILE, str(stack / "public"))
    monkeypatch.setenv(ASIDE[name], RIGHT if name == PASSPHRASE else str(stack / "mine"))
    text = advice("mine")
    assert text.endswith(
        'this shell has kept it: eval "$(make -s setup STACK=mine)", and run this again.'
    )


def test_the_public_one_is_named_if_it_fits(stack, monkeypatch):
    monkeypatch.setattr(passphrase, "PUBLIC_PASSPHRASE", RIGHT)
    monkeypatch.setenv(PASSPHRASE, "wrong")
    assert f"set {PASSPHRASE}={RIGHT}" in advice("mine")
