"""Records what Pulumi's official plugins answer.

`python -m tests.real.fallback_plugins.record TYPE...` needs them on PATH, and Docker. Types are the
names of the files in `tests/fixtures/plugins`.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.real.fallback_plugins import transcripts
from tests.real.fallback_plugins.conftest import docker, made_image, removed, words_for
from tests.real.fallback_plugins.plugin_driver import Run, started
from tests.real.fallback_plugins.scenarios import SCENARIOS


def main() -> None:
    """Play the scenarios of the given types, or of all, and record the answers."""
    chosen = set(sys.argv[1:])
    types = sorted({scenario.type for scenario in SCENARIOS})
    for kind in types:
        if not chosen or kind.rpartition(":")[2] in chosen:
            _record(kind)


def _record(kind: str) -> None:
    name = f"pulumi-resource-{kind.partition(':')[0]}"
    executable = Path(shutil.which(name) or sys.exit(f"no {name} on PATH"))
    if executable.read_bytes()[:2] == b"#!":
        sys.exit(f"{executable} is a script: only answers of the official plugin are recorded")
    runs = {}
    with tempfile.TemporaryDirectory() as folder, started(executable, os.environ) as plugin:
        image = made_image(Path(folder))
        for scenario in (one for one in SCENARIOS if one.type == kind):
            with removed() as prefix, tempfile.TemporaryDirectory() as own:
                print(f"{kind}: {scenario.name}", file=sys.stderr)
                words = words_for(image, prefix, own)
                runs[scenario.name] = Run(plugin, scenario, words).play()
        versions = {name: plugin.version, "docker": docker("version", "-f", "{{.Server.Version}}")}
    transcripts.write(kind, versions, runs)


if __name__ == "__main__":
    main()
