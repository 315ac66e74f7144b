"""Starts a fallback plugin without Pulumi's SDK, of which it needs only the protocol.

Importing the SDK takes a third of the time that a plugin needs to start, and every preview starts
four. The program of a stack runs in a process of its own, with the SDK.
"""

import importlib
import sys
from importlib.util import find_spec, module_from_spec


def start(name: str) -> None:
    """Run a plugin until the engine ends it.

    Args:
        name: of its module, below this package.
    """
    # Packages that lead to their modules, but have run no code of their own.
    for package in ("pulumi", "pulumi.runtime"):
        spec = find_spec(package)
        if spec is None:
            raise ModuleNotFoundError(f"{package} is not installed", name=package)
        sys.modules[package] = module_from_spec(spec)
    importlib.import_module(f"{__package__}.{name}").main()
