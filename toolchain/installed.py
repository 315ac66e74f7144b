"""Stops with what to do where a command is run by a Python that has not what it needs."""

import importlib.util
import sys

# One name of what each line of requirements.txt installs.
NEEDED = (
    "pulumi",
    "pulumi_command",
    "pulumi_docker",
    "bcrypt",
    "cryptography",
    "docker",
    "httpx",
    "publicsuffixlist",
    "yaml",
    "tqdm",
    "zstandard",
)


def require() -> None:
    """Stop the program unless everything is there."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(
            f"{sys.executable} lacks {', '.join(missing)}. The project's own Python has them: "
            'eval "$(make -s setup)", then .work/venv/bin/python in place of this one'
        )
