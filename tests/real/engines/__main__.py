"""Tests on a Docker of their own: `python -m tests.real.engines DOCKER PYTEST...`.

That Docker is Debian 13's, with an image store, or another daemon of the machine's own version. It
runs beside the machine's and shares nothing with it, in namespaces of its own for mounts, network
and processes; so do the tests, which reach its published ports from nowhere else. Whatever ends
this, all of it ends with it.
"""

import argparse
import os
import sys
from pathlib import Path

from host.console import say
from host.errors import SetupError
from tests.real.engines.inside import FOR_TALOS, MACHINES, STORES
from tests.real.engines.root import ensure
from toolchain import registry_image


def main() -> None:
    """Run pytest there; its exit status is this program's."""
    parser = argparse.ArgumentParser(prog="python -m tests.real.engines", description=__doc__)
    parser.add_argument("docker", choices=(MACHINES, FOR_TALOS, *STORES))
    arguments, pytest = parser.parse_known_args()
    try:
        root = ensure() if arguments.docker in STORES else Path("/")
        # Built here if it has to be: in there is no network.
        registry_image.server()
        registry_image.busybox()
    except SetupError as error:
        say(f"tests on another Docker: {error}")
        sys.exit(1)
    namespaces = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    # The first process of such a namespace inherits all orphans, and has to reap them.
    init = [root / "usr/bin/docker-init", "--"]
    inside = [sys.executable, "-m", "tests.real.engines.inside", root, arguments.docker, *pytest]
    env = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")}
    # This process becomes the one that ends them: killed, it takes all the others along.
    os.execvpe("unshare", ["unshare", *namespaces, *init, *inside], env)


if __name__ == "__main__":
    main()
