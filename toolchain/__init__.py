"""Set-up: finds the official tools, installs or builds what is missing, and says which it uses.

Only the standard library is imported at the top of these modules: they run before anything is
installed. What changes the machine is done once, kept by version, and told on standard error.

This file is read by any Python since 3.6; all others need the oldest that is supported.
"""

import sys

PYTHON_MINIMUM = (3, 10)

if sys.version_info[:2] < PYTHON_MINIMUM:
    sys.exit(
        f"talos-cache needs Python 3.10 or newer, and {sys.executable} is "
        f"{sys.version.split()[0]}. Install one, and name it: make PYTHON=python3.11 ..."
    )
