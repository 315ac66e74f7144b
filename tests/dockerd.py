"""A Docker daemon that a test runs, beside the machine's own."""

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import docker
from docker.errors import DockerException

START_SECONDS = 90
STOP_SECONDS = 60


@dataclass
class Dockerd:
    """Its daemon runs between `start` and `stop`; what it holds stays meanwhile, as over a reboot.

    Attributes:
        host: for DOCKER_HOST.
        argv: the program and its options, but for --host.
    """

    host: str
    argv: Sequence[str]
    log: Path
    daemon: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def client(self):
        return docker.DockerClient(base_url=self.host, timeout=60)

    def start(self):
        argv = [*self.argv, "--host", self.host]
        with self.log.open("a") as log:
            self.daemon = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            in_vain = self.daemon.poll() is not None or time.monotonic() > deadline
            assert not in_vain, self.log.read_text()[-3000:]
            time.sleep(0.1)

    def stop(self):
        if self.daemon:
            self.daemon.terminate()
            self.daemon.wait(timeout=STOP_SECONDS)

    def _answers(self):
        try:
            return self.client().ping()
        except DockerException:
            return False
