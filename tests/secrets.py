"""Secrets in a checkout's stacks: set as a user does, and looked for wherever one could show."""

import json
import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Looked:
    """How many places were looked at, and those that show a secret."""

    looked: int
    shown: list


def secret_set(checkout, stack, key, value):
    """`pulumi config set --secret`, the value by standard input."""
    subprocess.run(
        ["pulumi", "config", "set", "--secret", "--path", key, "--stack", stack],
        input=value,
        text=True,
        cwd=checkout.path,
        env=checkout.shell_env(stack),
        check=True,
        capture_output=True,
    )


def places_with(checkout, stack, secrets, more=None):
    """Look for secrets in files, containers, processes, outputs and previews.

    Args:
        checkout: whose stack it is.
        stack: that is up.
        secrets: texts.
        more: name -> text of further places.
    """
    texts = dict(more or {})
    for name in checkout.containers(stack):
        container = checkout.client.containers.get(name)
        texts[f"docker inspect {name}"] = json.dumps(container.attrs)
        texts[f"docker logs {name}"] = container.logs().decode(errors="replace")
        texts[f"docker top {name}"] = json.dumps(container.top())
    texts["outputs"] = checkout.make("outputs", stack).stdout
    texts["stack output"] = checkout.pulumi("stack", "output", "--json", stack=stack).stdout
    texts["export"] = checkout.pulumi("stack", "export", stack=stack).stdout
    for flags in ((), ("--diff",), ("--json",)):
        texts[f"preview {flags}"] = checkout.pulumi("preview", *flags, stack=stack).stdout
    texts |= dict(_files(checkout))
    texts |= dict(_processes())
    shown = [place for place, text in texts.items() for secret in secrets if secret in text]
    return Looked(looked=len(texts), shown=shown)


def _files(checkout):
    """What the checkout keeps, but for a passphrase's own folder."""
    for folder in (checkout.path / ".work" / "state", checkout.path / "stacks"):
        for path in folder.rglob("*"):
            if path.is_file():
                yield str(path), path.read_text(errors="replace")


def _processes():
    """Arguments of everything that runs here."""
    for entry in os.scandir("/proc"):
        with suppress(OSError):  # it has ended since
            if entry.name.isdigit():
                yield (
                    f"process {entry.name}",
                    Path(entry.path, "cmdline").read_text(errors="replace"),
                )
