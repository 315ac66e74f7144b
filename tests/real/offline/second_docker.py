"""A second Docker daemon beside the machine's: its own data, its own bridge, nothing shared."""

import subprocess
from contextlib import contextmanager
from dataclasses import dataclass

from tests.dockerd import Dockerd


@dataclass
class SecondDocker(Dockerd):
    """A daemon, and the bridge and the address of its own network."""

    bridge: str
    address: str


@contextmanager
def second_docker(folder, *, network):
    """It has no image and no volume, and its containers reach nobody but this machine.

    Args:
        folder: for all that it keeps.
        network: a number that no other module has: two may run side by side.
    """
    bridge, address = f"tc-test-br{network}", f"10.250.{network}.1"
    argv = ["dockerd", "--bridge", bridge, "--iptables=false", "--ip-forward=false"]
    argv += ["--ip-masq=false", "--pidfile", str(folder / "pid")]
    argv += ["--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")]
    host = f"unix://{folder / 'docker.sock'}"
    made = SecondDocker(host, argv, folder / "log", bridge=bridge, address=address)
    ip("link", "add", bridge, "type", "bridge")
    try:
        ip("address", "add", f"{address}/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        try:
            made.start()
            yield made
        finally:
            made.stop()
    finally:
        ip("link", "delete", bridge)


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)
