"""What the program says to people: the keys that it names are there, and no mask breaks its words.

It reads the source, so that what no other test gets the program to say is looked at too.
"""

import ast
import re

import pytest

from host.paths import ROOT
from plan.settings.keys import DEFAULTS

FOLDERS = ("components", "demo", "ops", "plan", "toolchain")
SOURCES = [*ROOT.glob("*.py"), *(file for name in FOLDERS for file in (ROOT / name).rglob("*.py"))]
# In the place of what a text takes in when it is made.
FILLED = "<host>"
GROUPS = "|".join(sorted({key.split(".")[0] for key in DEFAULTS if "." in key}))
DOTTED = re.compile(rf"(?<![\w.])(?:{GROUPS})(?:\.(?:[A-Za-z][A-Za-z0-9]*|{FILLED}))+")
NAMESPACED = re.compile(r"talos-cache:([A-Za-z]+)")
# Of a machine config's document; a server's name in an example.
NO_KEYS = {"cluster.inlineManifests", "cluster.network.cni.name", "harbor.example.com"}


def texts(source):
    """Every text with a space in it but for docstrings: those are for people."""
    tree = ast.parse(source)
    with_docs = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = (node.body for node in ast.walk(tree) if isinstance(node, with_docs))
    apart = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            apart |= {id(part) for part in node.values}
            yield "".join(part.value if constant(part) else FILLED for part in node.values)
    for node in ast.walk(tree):
        if constant(node) and id(node) not in apart and " " in node.value:
            yield node.value


def constant(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def keys_in(text):
    """Keys of a stack that a text names."""
    dotted = set(DOTTED.findall(text)) - NO_KEYS
    return dotted | {key for key in NAMESPACED.findall(text) if f"{key}." not in text}


def exists(named):
    """Whether a key is there, or some are below it; what is filled in may be any part of one."""
    wanted = [".+" if part == FILLED else re.escape(part) for part in named.split(".")]
    pattern = re.compile(rf"{'[.]'.join(wanted)}([.].+)?")
    return any(pattern.fullmatch(key) for key in DEFAULTS)


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_key_that_a_text_names_is_there(file):
    named = {key for text in texts(file.read_text()) for key in keys_in(text)}
    assert not [key for key in named if not exists(key)]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("set harbor.url, or cache.tls", []),
        ("write it as harbor.projectNames", ["harbor.projectNames"]),
        ("upstreams.<host>.remoteUrl is a URL", []),
        ("upstreams.<host>.url is a URL", ["upstreams.<host>.url"]),
        ("talos-cache:prefix and talos-cache:harbour", ["harbour"]),
        ("cache.<host> is any of them, credentials.<host> a group", []),
    ],
)
def test_a_key_that_is_not_there_is_found(text, wrong):
    assert [key for key in sorted(keys_in(text)) if not exists(key)] == wrong


def test_texts_are_found_as_they_are_told():
    source = '"""Not cache.this one."""\nx = f"set harbor.{name} or " "cache.tls"\ny = "one_word"\n'
    assert list(texts(source)) == [f"set harbor.{FILLED} or cache.tls"]


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_words_hold_the_usual_name_of_harbors_administrator(file):
    """It is a secret of the stack's: the engine shows "[secret]istrator" in the place of a word."""
    assert not [text for text in texts(file.read_text()) if " " in text and "admin" in text]
