"""The stack files in stacks/: read and checked before the engine starts, and copied for new stacks.

This is the only place that reads them as files, and it reads them as the engine will: so mistakes
are reported before the engine or the program starts.
"""

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

from host import passphrases
from host.paths import ROOT
from ops import text_files
from ops.errors import OpsError
from plan import problems
from plan.caches import tls
from plan.engine_yaml import NotYamlError
from plan.images.reference import parse_list
from plan.problems import ImageListError, Problem, SettingsError
from plan.settings import config_keys
from plan.settings.credentials import ENCRYPTED_KEY, SECRET_KEYS
from plan.settings.stack import Settings, decode, parse

FOLDER = ROOT / "stacks"
PROJECT = problems.PROJECT
T = TypeVar("T")
# Documents every key, but is not a stack.
EXAMPLE = "example"
# Pulumi's own rule for the names of stacks.
STACK_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")


def path_of(stack: str) -> Path:
    """The stack's file.

    Raises:
        OpsError: there is none, or the name can't be a stack's.
    """
    if not STACK_NAME.fullmatch(stack):
        raise _not_a_name(stack)
    path = FOLDER / f"Pulumi.{stack}.yaml"
    if not path.exists():
        raise OpsError(
            f"there is no stack file {path.relative_to(ROOT)}; the stacks are: "
            f"{', '.join(names())}. Create it with: make stack NAME={stack} FROM=docker"
        )
    return path


def names() -> list[str]:
    """The stacks that have a file."""
    stacks = sorted(path.name.split(".", 1)[1][: -len(".yaml")] for path in _files())
    return [name for name in stacks if name != EXAMPLE]


def read(path: Path) -> dict[str, object]:
    """The configuration in a stack file, keys without the project's namespace.

    Raises:
        OpsError: it is not YAML, a key is there twice, or its content is not a configuration.
    """
    # `pulumi config set` and the engine's own changes of the file leave numbers as text.
    return decode(_parsed(path, config_keys.in_file))


def keys(stack: str) -> frozenset[str]:
    """The keys in a stack's file with their namespaces, including those of other projects.

    Raises:
        OpsError: the file can't be read.
    """
    return _parsed(path_of(stack), config_keys.full_names)


def check(stack: str) -> Settings:
    """Find every mistake in a stack's file before anything runs.

    Raises:
        OpsError: the file can't be read.
        SettingsError: with all mistakes, or every patch file that can't be read.
    """
    raw = read(path_of(stack))
    plain = {key for key in SECRET_KEYS if _has_plain_text(raw.get(key))}
    settings = parse(raw, stack, plain_secrets=plain, public=passphrases.is_public(stack))
    named_files(settings)
    return settings


def named_files(settings: Settings) -> dict[str, str]:
    """Path -> content of every file that the stack names; paths are relative to the project.

    Raises:
        SettingsError: with every file that can't be read, every mistake in a list of images, and
            every file that should have a certificate in it and does not.
    """
    texts: dict[str, str] = {}
    problems = []
    lists = {c.warm_file: "cluster.warm" for c in settings.clusters if c.warm_file}
    patches = {p.file: "cluster.patches" for c in settings.clusters for p in c.patches if p.file}
    pem = tls.files(settings)
    for name, path in {**pem, **patches, **lists}.items():
        # A binary file is not a certificate in PEM form, which is reported below.
        errors = "replace" if name in pem else "strict"
        try:
            texts[name] = text_files.read(ROOT / text_files.path(name), errors=errors)
        except OpsError as error:
            rule = f"it can't be read: {error}"
            fix = f"put it there, or correct the path; it is relative to {ROOT}"
            problems.append(Problem(path=path, found=f"@{name}", rule=rule, fix=fix))
    hosts = {upstream.host for upstream in settings.upstreams}
    for name in (name for name in lists if name in texts):
        problems += _mistakes(texts[name], name, hosts)
    problems += tls.problems(settings, texts)
    if problems:
        raise SettingsError(tuple(problems))
    return texts


def _mistakes(text: str, name: str, hosts: Collection[str]) -> list[Problem]:
    """What is wrong with a list of images: reported before the caches are created, not after."""
    try:
        parse_list(text, f"@{name}", hosts)
    except ImageListError as error:
        return [
            Problem(
                path=f"cluster.warm ({problem.path})",
                found=problem.found,
                rule=problem.rule,
                fix=problem.fix,
            )
            for problem in error.problems
        ]
    return []


def copy(name: str, source: str) -> Path:
    """Make the stack file `name` from that of `source`, without its salt.

    Raises:
        OpsError: the source is not there, the name is taken, or can't be a stack's.
    """
    text = path_of(source).read_text()
    if not STACK_NAME.fullmatch(name) or name == EXAMPLE:
        raise _not_a_name(name)
    path = FOLDER / f"Pulumi.{name}.yaml"
    if path.exists():
        raise OpsError(f"{path.relative_to(ROOT)} already exists; edit it, or choose another name")
    start = text.find("# The passphrase of the stacks")
    kept = text[:start] if start >= 0 else re.sub(r"(?m)^encryptionsalt:.*\n?", "", text)
    path.write_text(kept)
    return path


def _not_a_name(stack: str) -> OpsError:
    return OpsError(f"'{stack}' is not a stack name: letters, digits, '-', '_' and '.' only")


def _parsed(path: Path, parser: Callable[[bytes], T]) -> T:
    try:
        return parser(path.read_bytes())
    except NotYamlError as error:
        raise OpsError(f"{path.name} is not readable as YAML: {error}") from error
    except config_keys.NoConfigError as error:
        raise OpsError(f"{path.name}: {error}") from error
    except OSError as error:
        raise OpsError(f"{path.name} can't be read: {error.strerror}") from error


def _has_plain_text(value: object) -> bool:
    """Whether anything below is not encrypted (`{secure: ...}`); empty text does not count."""
    if isinstance(value, Mapping):
        encrypted = set(value) == {ENCRYPTED_KEY}
        return not encrypted and any(_has_plain_text(item) for item in value.values())
    return value not in (None, "")


def _files() -> list[Path]:
    return list(FOLDER.glob("Pulumi.*.yaml"))
