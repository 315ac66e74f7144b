"""`plan` decides and does nothing else: no Pulumi, no Docker, files, sockets or environment."""

import ast
import subprocess
import sys

import pytest

from host.paths import ROOT

MODULES = sorted((ROOT / "plan").rglob("*.py"))
# Modules of the standard library that only compute, yaml, which writes text to text, and bcrypt.
ALLOWED = {
    "base64",
    "bcrypt",
    "collections",
    "dataclasses",
    "datetime",
    "difflib",
    "functools",
    "hashlib",
    "host",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "plan",
    "re",
    "shlex",
    "textwrap",
    "typing",
    "urllib",
    "yaml",
}
# A shell script ships with the module, which reads it on import, never while planning.
READS_WHAT_SHIPS = {"upstream_watchdog": {"importlib.resources"}}

# Runs in its own process, because imported modules stay imported.
PROGRAM = """
import builtins, importlib, importlib.abc, io, os, socket, subprocess, sys

BLOCKED = ("pulumi", "docker", "requests", "urllib3", "grpc")

class Refusal(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0].startswith(BLOCKED):
            raise AssertionError(f"plan imports {name}")

class Environment(dict):
    def refuse(self, *args):
        raise AssertionError("plan reads the environment")
    __getitem__ = __contains__ = __iter__ = get = items = keys = values = copy = refuse

def refuse(what):
    def refused(*args, **kwargs):
        raise AssertionError(f"plan {what}")
    return refused

sys.meta_path.insert(0, Refusal())
sys.path.insert(0, sys.argv[1])
modules = [importlib.import_module(name) for name in sys.argv[2].split(",")]
import yaml

builtins.open = io.open = os.open = refuse("opens a file")
builtins.print = refuse("prints")
socket.socket = socket.create_connection = refuse("opens a socket")
subprocess.Popen = os.system = refuse("starts a program")
os.getenv = refuse("reads the environment")
os.environ = Environment()

from plan.problems import SettingsError
from plan.settings.stack import decode, parse
from plan.stack import Facts, build
from plan.talos import cluster_transport, create_flags, mirror_updates, node_commands, unsupported
from plan.talos.talosctl import Place
from plan.talos.versions import Version

FACTS = Facts(
    identity="mine-0123456789ab",
    bridge_gateway="172.17.0.1",
    files={"patches/one.yaml": "machine: {env: {PASSWORD: hunter2}}"},
)

def whole(raw):
    stack = build("mine", parse(decode(raw), "mine"), FACTS)
    for plan in stack.clusters:
        environment = cluster_transport.environment(plan)
        arrived = cluster_transport.read(environment, cluster_transport.secret_input(plan))
        assert arrived == plan and arrived.create_seconds == 1500
        for version in (Version(1, 11, 5), Version(1, 13, 0)):
            assert not unsupported.refusals(plan.settings, version)
            place = Place(program="talosctl", state="state", talosconfig="talosconfig")
            assert "qemu" in create_flags.create_argv(plan.settings, plan.mirrors, version, place)
        for documents in (True, False):
            assert mirror_updates.patches([], plan.mirrors, {}, documents=documents)
        assert not node_commands.needs_reboot(plan.settings.patches[0].text, version)
    return stack.outputs

made = whole({
    "upstreams": '{"docker.io": {"overridePath": true}, "quay.io": {"skipFallback": true}}',
    "cluster": '[{"provisioner": "qemu", "talosVersion": "v1.11.5",'
               ' "disks": ["virtio:10GiB"], "patches": ["@patches/one.yaml"]}]',
    "credentials": '{"docker.io": {"username": "alice", "password": "hunter2"}}',
})
assert "mirrors.yaml" in made["talosctlCommand"]
try:
    whole({"upstreams": "{}", "cache": "1", "cluster": '[{"disks": 1}, {"name": "-"}, {}]'})
    raise SystemExit("the wrong configuration was accepted")
except SettingsError as error:
    str(error)
ENVIRONMENT = os.environ
try:
    ENVIRONMENT["HOME"]
    raise SystemExit("the guard of the environment does not guard")
except AssertionError:
    pass
sys.stdout.write("planned")
"""


def test_a_whole_plan_is_made_with_pulumi_docker_files_sockets_and_environment_blocked():
    parts = (path.relative_to(ROOT).with_suffix("").parts for path in MODULES)
    names = ",".join(".".join(some).removesuffix(".__init__") for some in parts)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ROOT), names],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "planned"), done.stderr


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole module"
            yield str(node.module)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_of_plan_imports_only_what_computes(path):
    names = set(imported(path)) - READS_WHAT_SHIPS.get(path.stem, set())
    assert {name.split(".")[0] for name in names} <= ALLOWED
    of_host = {name for name in names if name.startswith("host")}
    assert of_host <= {"host.errors"}, "which only names a class"
    urllib = {name for name in names if name.startswith("urllib")}
    assert urllib <= {"urllib.parse"}, "the rest of urllib opens connections"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_of_plan_calls_nothing_that_reads_writes_or_runs(path):
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"open", "print", "input", "eval", "exec", "__import__"}


def test_the_modules_exist():
    assert len(MODULES) > 5
