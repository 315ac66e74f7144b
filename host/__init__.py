"""This machine, independent of stacks: paths, locks, private files, the console.

At the top of these modules, only the standard library is imported: the set-up uses them.

This file must parse on any Python since 3.6; all others require the oldest supported version.
"""

import sys

PYTHON_MINIMUM = (3, 10)

if sys.version_info[:2] < PYTHON_MINIMUM:
    sys.exit(
        f"talos-cache needs Python 3.10 or newer, and {sys.executable} is "
        f"{sys.version.split()[0]}. Install one and name it: make PYTHON=python3.11 ..."
    )
