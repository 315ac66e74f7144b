"""Makes every part of the test clusters that is missing: `python -m tests.real.talos.parts`."""

import sys

from host.console import say
from host.errors import SetupError
from tests.real.talos.parts import kubectl, upstream_data
from toolchain import talosctl
from toolchain.versions import TALOSCTL


def main() -> int:
    """Make the parts, print where they are; returns the exit status."""
    try:
        for version in TALOSCTL:
            print(talosctl.ensure(version))
        print(kubectl())
        print(upstream_data())
    except SetupError as error:
        say(f"parts of the test cluster: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
