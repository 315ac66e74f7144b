"""A line of an htpasswd file, as distribution reads it."""

import re

import bcrypt
import pytest

from plan.caches.htpasswd import line

SALT = bytes(range(16))


def hash_in(text, username):
    assert text.startswith(f"{username}:")
    assert text.endswith("\n")
    assert text.count("\n") == 1, "a second line would be a second user"
    return text.removeprefix(f"{username}:").rstrip("\n").encode()


@pytest.mark.parametrize(
    "password", ["hunter2", "p", "with: colon", "пароль", "quotes \" ' $HOME", "x" * 72, "a\0b"]
)
def test_a_password_is_accepted_and_no_other(password):
    hashed = hash_in(line("nodes", password, SALT), "nodes")
    assert bcrypt.checkpw(password.encode(), hashed)
    assert not bcrypt.checkpw(f"!{password}"[:72].encode(), hashed)


def test_the_same_arguments_make_the_same_line():
    assert line("nodes", "hunter2", SALT) == line("nodes", "hunter2", SALT), (
        "a line of its own for every run would replace every container at every run"
    )


def test_another_password_and_another_salt_make_another_line():
    made = line("nodes", "hunter2", SALT)
    assert line("nodes", "hunter3", SALT) != made
    assert line("nodes", "hunter2", SALT[::-1]) != made


@pytest.mark.parametrize("salt", [SALT, bytes(16), b"\xff" * 16, b"\xfb\xef\xbe" * 5 + b"\x01"])
def test_every_salt_is_written_in_bcrypts_own_letters(salt):
    hashed = hash_in(line("nodes", "hunter2", salt), "nodes").decode()
    assert re.fullmatch(r"\$2b\$08\$[./A-Za-z0-9]{53}", hashed)
    assert bcrypt.hashpw(b"hunter2", hashed[:29].encode()).decode() == hashed
