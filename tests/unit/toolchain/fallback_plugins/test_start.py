"""A fallback plugin starts with the protocol, and without Pulumi's SDK."""

import subprocess
import sys

import pytest

from host.paths import ROOT
from toolchain.plugins import PLUGINS

# In a process of its own: here the SDK has been imported long ago.
PROGRAM = """
import sys
from importlib import import_module
from toolchain.fallback_plugins.start import start


class Probe:
    @staticmethod
    def main():
        module = import_module("toolchain.fallback_plugins." + sys.argv[1])
        print(callable(module.main), "pulumi.runtime.proto" in sys.modules)
        print("pulumi.resource" in sys.modules)

sys.modules["toolchain.fallback_plugins.probe"] = Probe
start("probe")
"""


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_it_has_the_protocol_and_not_the_sdk(plugin):
    argv = [sys.executable, "-c", PROGRAM, plugin.fallback]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["True True", "False"], done.stderr
