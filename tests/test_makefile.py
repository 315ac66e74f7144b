"""Every command of the Makefile does something, and says in `make help` what."""

import os
import re
import subprocess

import pytest

from host.paths import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
PHONY = re.findall(r"^\.PHONY:(.*)$", MAKEFILE, re.MULTILINE)[0].split()
# The first word of a rule; assignments and rules that only make knows are none.
RULES = re.findall(r"^([A-Za-z0-9_-]+):(?!=)", MAKEFILE, re.MULTILINE)


def make(*arguments):
    # Not with the options of a make that runs the tests.
    env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    argv = ["make", "--no-print-directory", *arguments]
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("name", PHONY)
def test_every_command_has_a_recipe(name):
    shown = make("--dry-run", name)
    assert shown.strip(), "make would run nothing"
    assert "Nothing to be done" not in shown


def test_every_command_is_in_the_help():
    shown = make("help")
    assert [line.split()[0] for line in shown.splitlines()] == RULES
    assert "$$" not in shown, "make's own way to write a dollar is none of the shell's"
    assert sorted(PHONY) == sorted(RULES), "none is missing from .PHONY, or stands there alone"
