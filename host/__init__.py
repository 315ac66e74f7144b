"""This machine, whatever runs on it: paths, locks, private files, the console.

Only the standard library is imported at the top of these modules: the set-up uses them.

This file is read by any Python since 3.6; all others need the oldest that is supported.
"""

import sys

PYTHON_MINIMUM = (3, 10)

if sys.version_info[:2] < PYTHON_MINIMUM:
    sys.exit(
        f"talos-cache needs Python 3.10 or newer, and {sys.executable} is "
        f"{sys.version.split()[0]}. Install one, and name it: make PYTHON=python3.11 ..."
    )
