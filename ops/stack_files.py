"""The stack files in stacks/: read and checked before the engine starts, and copied for new stacks.

This is the one place that reads them as files: it sees the YAML as the user wrote it, so that a
number in quotes or a key that stands twice can be reported.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from ops.errors import OpsError
from plan import certificates
from plan.checks import Problem, SettingsError
from plan.images import ImageListError, parse_list
from plan.login_settings import ENCRYPTED_KEY, SECRET_KEYS
from plan.settings import Settings, decode, parse
from toolchain import secrets_store

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "stacks"
PROJECT = "talos-cache"
# Documents every key, but is no stack.
EXAMPLE = "example"
# Pulumi's own rule for the names of stacks.
STACK_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key that stands twice, where plain YAML silently takes the last."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if str(key) in seen:
            line = key_node.start_mark.line + 1
            raise yaml.MarkedYAMLError(problem=f"the key '{key}' stands twice (line {line})")
        seen.add(str(key))
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping)


def path_of(stack: str) -> Path:
    """The stack's file.

    Raises:
        OpsError: there is none, or the name can't be a stack's.
    """
    if not STACK_NAME.fullmatch(stack):
        raise OpsError(f"'{stack}' is no name for a stack: letters, digits, '-', '_' and '.' only")
    path = FOLDER / f"Pulumi.{stack}.yaml"
    if not path.exists():
        raise OpsError(
            f"there is no stack file {path.relative_to(ROOT)}; there are: {', '.join(names())}. "
            f"Make one with: make stack NAME={stack} FROM=docker"
        )
    return path


def names() -> list[str]:
    """The stacks that have a file."""
    found = sorted(path.name.split(".", 1)[1][: -len(".yaml")] for path in _files())
    return [name for name in found if name != EXAMPLE]


def read(path: Path) -> dict[str, object]:
    """The configuration in a stack file, keys without the project's namespace.

    Raises:
        OpsError: it is no YAML, a key stands twice, or it has no mapping `config`.
    """
    try:
        content = yaml.load(path.read_text(), Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OpsError(f"{path.name} is not readable as YAML: {error}") from error
    config = content.get("config", {}) if isinstance(content, Mapping) else content
    if not isinstance(config, Mapping):
        raise OpsError(f"{path.name}: 'config:' holds a mapping of keys to values")
    # `pulumi config set` and the engine's own changes of the file leave numbers as text.
    return decode(
        {
            str(key).removeprefix(f"{PROJECT}:"): value
            for key, value in config.items()
            if ":" not in str(key) or str(key).startswith(f"{PROJECT}:")
        }
    )


def check(stack: str) -> Settings:
    """Find every mistake in a stack's file before anything runs.

    Raises:
        OpsError: the file can't be read.
        SettingsError: with all mistakes, or every patch file that can't be read.
    """
    raw = read(path_of(stack))
    plain = {key for key in SECRET_KEYS if _holds_plain_text(raw.get(key))}
    settings = parse(raw, stack, plain_secrets=plain, public=secrets_store.is_public(stack))
    named_files(settings)
    return settings


def named_files(settings: Settings) -> dict[str, str]:
    """Path -> content of every file that the stack names; paths are relative to the project.

    Raises:
        SettingsError: with every file that can't be read, every mistake in a list of images, and
            every file that should hold a certificate and does not.
    """
    texts: dict[str, str] = {}
    problems = []
    lists = {c.warm_file: "cluster.warm" for c in settings.clusters if c.warm_file}
    patches = {p.file: "cluster.patches" for c in settings.clusters for p in c.patches if p.file}
    pem = certificates.files(settings)
    for name, path in {**pem, **patches, **lists}.items():
        # What is no text at all is no certificate in PEM form, which is told below.
        errors = "replace" if name in pem else "strict"
        try:
            texts[name] = (ROOT / Path(name).expanduser()).read_text(errors=errors)
        except (OSError, UnicodeDecodeError) as error:
            rule = f"it can't be read: {getattr(error, 'strerror', None) or error}"
            fix = f"put it there, or correct the path; it is relative to {ROOT}"
            problems.append(Problem(path=path, found=f"@{name}", rule=rule, fix=fix))
    hosts = {upstream.host for upstream in settings.upstreams}
    for name in (name for name in lists if name in texts):
        problems += _mistakes(texts[name], name, hosts)
    problems += certificates.problems(settings, texts)
    if problems:
        raise SettingsError(tuple(problems))
    return texts


def _mistakes(text: str, name: str, hosts: Collection[str]) -> list[Problem]:
    """What is wrong with a list of images: told before the caches are made, not after."""
    try:
        parse_list(text, f"@{name}", hosts)
    except ImageListError as error:
        return [
            Problem(path=f"cluster.warm ({one.where})", found=one.found, rule=one.rule, fix=one.fix)
            for one in error.problems
        ]
    return []


def copy(name: str, source: str) -> Path:
    """Make the stack file `name` from that of `source`, without its salt.

    Raises:
        OpsError: the source is not there, the name is taken, or can't be a stack's.
    """
    text = path_of(source).read_text()
    if not STACK_NAME.fullmatch(name) or name == EXAMPLE:
        raise OpsError(f"'{name}' is no name for a stack: letters, digits, '-', '_' and '.' only")
    path = FOLDER / f"Pulumi.{name}.yaml"
    if path.exists():
        raise OpsError(f"{path.relative_to(ROOT)} is there already; edit it, or choose a name")
    start = text.find("# The passphrase of the stacks")
    kept = text[:start] if start >= 0 else re.sub(r"(?m)^encryptionsalt:.*\n?", "", text)
    path.write_text(kept)
    return path


def _holds_plain_text(value: object) -> bool:
    """Whether anything below is not encrypted (`{secure: ...}`)."""
    if isinstance(value, Mapping):
        encrypted = set(value) == {ENCRYPTED_KEY}
        return not encrypted and any(_holds_plain_text(item) for item in value.values())
    return value is not None


def _files() -> list[Path]:
    return list(FOLDER.glob("Pulumi.*.yaml"))
