"""Runs the watchdog's script by busybox with a fake registry, five times as fast.

tests/real/offline shows that it works in a container, with a real registry.
"""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from host.paths import ROOT
from plan.caches.upstream_watchdog import script

STUB = ROOT / "tests/fakes/stub_registry.py"
FASTER = 5
LOOK_SECONDS = 0.5
# It ends when what is awaited is there.
SECONDS = 60
PING = "proxy.ping"
TOKEN = "auth.(*tokenHandler).fetchToken"
CONNECT = "net/http.(*Transport).dialConn"
LOOK_UP = "client.(*tags).Get"
FOR_EVER = 0
WAITING = f"goroutine 1 [select]:\nregistry/{PING}(0xc0001, 0x2)\n\tfile.go:1\n"
LOOK_UP_WAITING = WAITING.replace(PING, LOOK_UP)
DOWNLOADING = "\ngoroutine 2 [IO wait]:\nproxy.(*proxyBlobStore).copyContent(0x1)\n\tfile.go:2\n"
HELD = "gives no answer: serving"
OWN, REFUSING = "its own", "http://127.0.0.1:1"


class Watch:
    """The script, started as in a container."""

    def __init__(self, folder):
        self.folder = folder
        self.process = None
        self.addresses = [f"127.0.0.1:{port}" for port in free_ports(4)]
        # That it takes connections is all that is seen of it.
        self.upstream = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.upstream_port = self.upstream.getsockname()[1]
        self.wait_for("")
        self.answer_after()
        self.write("io", "write_bytes: 0\n")

    def text(self, path_prefix=""):
        """The script with files, addresses and pauses of its own."""
        text = script(f"http://127.0.0.1:{self.upstream_port}", path_prefix)
        replaced = {
            "/dev/shm/talos-cache": f"{self.folder}/state",
            "127.0.0.1:5002": self.addresses[2],
            "127.0.0.1:5003": self.addresses[3],
            '"/proc/$(cat "$pid_file")/io"': f"{self.folder}/io",
            "busybox sleep ": "short_sleep ",
        }
        for old, new in replaced.items():
            text = text.replace(old, new)
        pause = f'"$(busybox awk "BEGIN {{ print $1 / {FASTER} }}")"'
        noted = f'echo "$1" >>"{self.folder}/pauses"; busybox sleep {pause}'
        return text.replace("\n", f"\nshort_sleep() {{ {noted}; }}\n", 1)

    def start(self, text=""):
        program = self.folder / "watch.sh"
        program.write_text(text or self.text())
        env = {
            **os.environ,
            "REGISTRY_HTTP_ADDR": self.addresses[0],
            "REGISTRY_HTTP_DEBUG_ADDR": self.addresses[1],
        }
        argv = ["busybox", "sh", str(program), sys.executable, str(STUB), str(self.folder)]
        with (self.folder / "said").open("w") as said:
            self.process = subprocess.Popen(
                argv, env=env, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
            )

    def end(self):
        self.upstream.close()
        if self.process:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def wait_for(self, goroutines):
        self.write("waiting", goroutines)

    def answer_after(self, *steps):
        """Seconds of each step, as many looks as the watch takes in them."""
        looks = [(call, math.ceil(seconds / LOOK_SECONDS)) for call, seconds in steps]
        self.write("steps", json.dumps(looks))

    def write(self, name, content):
        fresh = self.folder / f"{name}.new"
        fresh.write_text(content)
        fresh.replace(self.folder / name)

    def lines(self, name):
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def until(self, is_so):
        deadline = time.monotonic() + SECONDS
        while not is_so():
            assert time.monotonic() < deadline, (self.lines("said"), self.lines("starts"))
            assert self.process.poll() is None, self.lines("said")
            time.sleep(0.02)

    def until_said(self, words):
        self.until(lambda: any(words in line for line in self.lines("said")))

    def until_asked(self, times):
        self.until(lambda: len(self.lines("questions")) >= times)

    def until_started(self, times):
        self.until(lambda: len(self.lines("starts")) >= times)

    def processes(self):
        """Of the script's session: process -> its parent, and whether it is a registry."""
        found = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            # One that ends meanwhile.
            with suppress(FileNotFoundError, ProcessLookupError):
                rest = stat.read_text().rpartition(")")[2].split()
                if int(rest[3]) == self.process.pid:
                    is_registry = sys.executable.encode() == cmdline(stat.parent)[0]
                    found[int(stat.parent.name)] = int(rest[1]), is_registry
        return found

    def kill_the_one_that_watches(self):
        """The one that has started the second registry; the entrypoint has started the first."""
        (watching,) = {
            parent
            for parent, is_registry in self.processes().values()
            if is_registry and parent != self.process.pid
        }
        os.kill(watching, signal.SIGKILL)


def cmdline(process):
    return (process / "cmdline").read_bytes().split(b"\0")


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports
