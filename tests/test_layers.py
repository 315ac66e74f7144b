"""Which room may import which, and that no two import each other; CONTRIBUTING.md tells the rooms.

`host` and `plan` are the ground. All they share is the class that errors for the user have.
"""

import ast
import builtins
from pathlib import Path

import pytest

from host.paths import ROOT

MAY_IMPORT = {
    "host": set(),
    "plan": {"host.errors"},
    "toolchain": {"host"},
    "components": {"plan", "host"},
    "ops": {"plan", "host", "toolchain"},
}
EXCEPTIONS = {
    name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, BaseException)
}
PROGRAM = ("__main__.py", "stack_state.py")
OURS = {*MAY_IMPORT, "demo", "bench", "tests", "stack_state"}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for room in MAY_IMPORT
    for path in sorted((ROOT / room).rglob("*.py"))
}


def imported(path):
    """Names of this project's modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.split(".")[0] in OURS)
        elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in OURS:
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield whole if whole in MODULES else node.module


def belongs_to(name, rooms):
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_rooms_below_its_own(name):
    room = name.split(".")[0]
    allowed = {room, *MAY_IMPORT[room]}
    assert [one for one in imported(MODULES[name]) if not belongs_to(one, allowed)] == []


def importers_of(room, among):
    return {
        name
        for name, path in MODULES.items()
        if belongs_to(name, [among])
        and not belongs_to(name, [room])
        and any(belongs_to(one, [room]) for one in imported(path))
    }


def test_only_the_parser_knows_the_commands():
    assert importers_of("ops.commands", among="ops") == {"ops.__main__"}


def test_ops_needs_the_toolchain_only_to_offer_a_talosctl():
    where = "ops.commands.lifecycle"
    assert importers_of("toolchain", among="ops") == {where}
    assert {name for name in imported(MODULES[where]) if belongs_to(name, ["toolchain"])} == {
        "toolchain.talosctl"
    }


def test_no_modules_import_each_other():
    """Not even in a function: whoever reads one would have to read both."""
    todo = {name: set(imported(path)) & set(MODULES) - {name} for name, path in MODULES.items()}
    while leaves := [name for name, needs in todo.items() if not needs & set(todo)]:
        for name in leaves:
            del todo[name]
    assert todo == {}


def test_errors_of_this_project_have_one_base():
    """It is what the edge of every command catches: the text of the others is not for the user."""
    others = {
        f"{name}.{node.name}"
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Name) and base.id in EXCEPTIONS
    }
    assert others == {"host.errors.TalosCacheError"}


def test_the_program_stands_on_top():
    assert not [
        name for name, path in MODULES.items() if belongs_to("stack_state", list(imported(path)))
    ]
    assert all((Path(ROOT) / name).exists() for name in PROGRAM)


def test_nothing_outside_plan_asks_which_provisioner_a_cluster_has():
    """It is behind one interface, ops/cluster/provisioner.py; only their flags differ in plan."""
    asking = {
        name
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare) and "settings.provisioner" in ast.unparse(node)
    }
    assert {name for name in asking if not belongs_to(name, ["plan"])} == set()
