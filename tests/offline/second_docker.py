"""A second Docker daemon beside the machine's: its own data, its own bridge, nothing shared."""

import subprocess
import time
from contextlib import contextmanager

import docker
from docker.errors import DockerException

START_SECONDS = 60
STOP_SECONDS = 60


class SecondDocker:
    """Its daemon runs between `start` and `stop`; what it holds stays meanwhile, as over a reboot.

    Attributes:
        host: for DOCKER_HOST.
        bridge, address: of its own network.
    """

    def __init__(self, folder, network):
        self._folder = folder
        self.bridge = f"tc-test-br{network}"
        self.address = f"10.250.{network}.1"
        self.host = f"unix://{folder / 'docker.sock'}"
        self._daemon = None

    def client(self):
        return docker.DockerClient(base_url=self.host, timeout=60)

    def start(self):
        argv = ["dockerd", "--host", self.host, "--bridge", self.bridge, "--iptables=false"]
        argv += ["--ip-forward=false", "--ip-masq=false", "--pidfile", str(self._folder / "pid")]
        argv += ["--data-root", str(self._folder / "data")]
        argv += ["--exec-root", str(self._folder / "exec")]
        with (self._folder / "log").open("a") as log:
            self._daemon = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        _wait(self.host, self._folder / "log")

    def stop(self):
        if self._daemon:
            self._daemon.terminate()
            self._daemon.wait(timeout=STOP_SECONDS)


@contextmanager
def second_docker(folder, *, network):
    """It has no image and no volume, and its containers reach nobody but this machine.

    Args:
        folder: for all that it keeps.
        network: a number that no other module has: two may run side by side.
    """
    made = SecondDocker(folder, network)
    ip("link", "add", made.bridge, "type", "bridge")
    try:
        ip("address", "add", f"{made.address}/24", "dev", made.bridge)
        ip("link", "set", made.bridge, "up")
        try:
            made.start()
            yield made
        finally:
            made.stop()
    finally:
        ip("link", "delete", made.bridge)


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


def _wait(host, log):
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return docker.DockerClient(base_url=host).ping()
        except DockerException:
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)
