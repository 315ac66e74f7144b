"""Which upstreams are watched; what the watchdog does is in tests/unit/components."""

import shutil
import subprocess
from pathlib import Path

import pytest

from plan.caches import upstream_watchdog
from plan.caches.upstream_watchdog import script

# These tests need nothing installed; tests/unit/components runs it with busybox's shell.
SHELL = ["busybox", "sh"] if shutil.which("busybox") else ["sh"]


def check(text):
    subprocess.run([*SHELL, "-n"], input=text, text=True, check=True)


@pytest.mark.parametrize(
    ("url", "name", "port"),
    [
        ("https://registry-1.docker.io", "registry-1.docker.io", 443),
        ("http://registry.example.com", "registry.example.com", 80),
        ("https://registry.example.com:5010/prefix", "registry.example.com", 5010),
    ],
)
def test_an_upstream_with_a_name_is_watched_on_its_port(url, name, port):
    text = script(url)
    assert text.startswith(f"#!/bin/sh\nname={name}\nport={port}\nby_name=yes\n")
    check(text)


def test_the_question_is_about_a_repository_below_the_prefix():
    text = script("https://registry.example.com", "team/cache")
    assert "\nprefix=team/cache\n" in text
    check(text)


@pytest.mark.parametrize("url", ["http://172.17.0.1:5000", "http://[fd00::1]:5000"])
def test_an_address_is_watched_too_but_has_no_name_to_block(url):
    text = script(url)
    assert "\nport=5000\nby_name=\n" in text
    check(text)


def test_only_the_first_paragraph_differs_between_upstreams():
    one, other = script("https://registry-1.docker.io"), script("http://[fd00::1]", "team")
    assert one.partition("\n\n")[2] == other.partition("\n\n")[2]


def test_directives_for_shellcheck_stay_out_of_containers():
    assert "shellcheck" in Path(upstream_watchdog.__file__).with_suffix(".sh").read_text()
    assert "shellcheck" not in script("https://registry-1.docker.io")
