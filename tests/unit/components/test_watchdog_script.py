"""The watchdog's script, run by busybox with a fake registry, five times as fast.

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

import pytest

from host.paths import ROOT
from plan.caches.upstream_watchdog import script
from toolchain import registry_image

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


@pytest.fixture(scope="module", autouse=True)
def busybox():
    registry_image.busybox()


@pytest.fixture
def watch(tmp_path):
    made = Watch(tmp_path)
    yield made
    made.end()


def cmdline(process):
    return (process / "cmdline").read_bytes().split(b"\0")


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def test_an_upstream_that_never_answers_is_refused_until_it_does(watch):
    watch.wait_for(WAITING)
    watch.answer_after((PING, FOR_EVER))
    watch.start()
    watch.until_said(HELD)
    watch.until_started(2)
    assert "gives no answer" in watch.lines("state-trouble")[0]
    asked = len(watch.lines("questions"))
    watch.until_asked(asked + 2)
    assert watch.lines("starts") == [OWN, REFUSING]
    watch.answer_after((PING, 0.5))
    watch.until_said("is back")
    watch.until_started(3)
    assert watch.lines("starts") == [OWN, REFUSING, OWN]
    assert not watch.lines("state-trouble")


def test_an_upstream_that_hangs_only_on_tags_gets_a_request_for_a_tag(watch):
    watch.wait_for(LOOK_UP_WAITING)
    watch.answer_after((PING, 0.5), (LOOK_UP, FOR_EVER))
    watch.start()
    watch.until_said(HELD)
    watch.until_started(2)
    asked = len(watch.lines("questions"))
    watch.until_asked(asked + 2)
    assert watch.lines("starts") == [OWN, REFUSING]
    watch.answer_after((PING, 0.5), (LOOK_UP, 0.5))
    watch.until_said("is back")
    watch.until_started(3)
    assert watch.lines("starts") == [OWN, REFUSING, OWN]


@pytest.mark.parametrize(("prefix", "below"), [("", ""), ("team/cache", "team/cache/")])
def test_the_requested_tag_does_not_exist(watch, prefix, below):
    watch.wait_for(LOOK_UP_WAITING)
    watch.start(watch.text(prefix))
    watch.until_asked(1)
    assert watch.lines("questions") == [f"/v2/{below}talos-cache/question/manifests/none"]


def test_a_look_up_that_waits_while_others_are_answered_costs_few_questions(watch):
    watch.wait_for(LOOK_UP_WAITING)
    watch.start()
    watch.until_asked(2)
    assert watch.lines("pauses").count("1") > 30
    assert watch.lines("starts") == [OWN]
    # What begins to wait after that is asked about as soon as ever.
    looks = watch.lines("pauses").count("1")
    watch.answer_after((LOOK_UP, FOR_EVER))
    watch.wait_for(LOOK_UP_WAITING + "\n" + LOOK_UP_WAITING.replace("goroutine 1 ", "goroutine 2 "))
    watch.until_said(HELD)
    assert watch.lines("pauses").count("1") < looks + 30


@pytest.mark.parametrize(
    "steps",
    [
        # A token on top of a slow answer.
        [(PING, 0.9), (TOKEN, 0.9), (LOOK_UP, 0.4)],
        # Half a second for every packet's way there and back.
        [(CONNECT, 2), (PING, 0.5), (CONNECT, 2), (TOKEN, 0.5), (LOOK_UP, 0.5)],
        # A HEAD, and a GET after it because there is no such tag.
        [(PING, 1.5), (TOKEN, 1.5), (LOOK_UP, 2), (LOOK_UP, 2)],
    ],
)
def test_one_that_is_slow_in_every_step_is_left_alone(watch, steps):
    watch.wait_for(LOOK_UP_WAITING)
    watch.answer_after(*steps)
    watch.start()
    watch.until_asked(2)
    assert watch.lines("said") == []
    assert watch.lines("starts") == [OWN]


def test_look_ups_that_end_while_it_asks_were_only_slow(watch):
    watch.wait_for(WAITING.replace("0x2", "{asked}"))
    watch.answer_after((PING, FOR_EVER))
    watch.start()
    watch.until_asked(3)
    assert watch.lines("starts") == [OWN]


def test_a_download_that_goes_on_is_not_broken_off(watch):
    (watch.folder / "downloading").touch()
    watch.wait_for(WAITING + DOWNLOADING)
    watch.answer_after((LOOK_UP, FOR_EVER))
    watch.start()
    watch.until_asked(3)
    assert watch.lines("starts") == [OWN]
    (watch.folder / "downloading").unlink()
    watch.until_said(HELD)


def test_an_upstream_by_address_that_refuses_connections_gets_no_request(watch):
    watch.upstream.close()
    watch.wait_for(WAITING)
    watch.start()
    watch.until_started(2)
    # However long the outage is: what is new has to come soon after it.
    watch.until(lambda: watch.lines("pauses").count("3") >= 22)
    assert watch.lines("starts") == [OWN, REFUSING]
    assert watch.lines("questions") == []


def test_one_that_answers_late_is_held_once(watch):
    watch.wait_for(WAITING)
    watch.answer_after((PING, 4.5))
    watch.start()
    watch.until_said("is back")
    asked = len(watch.lines("questions"))
    watch.until_asked(asked + 2)
    assert watch.lines("starts")[:3] == [OWN, REFUSING, OWN]
    assert REFUSING not in watch.lines("starts")[3:]


def test_a_request_that_got_lost_ends_with_its_registry(watch):
    watch.wait_for(WAITING)
    watch.start()
    watch.until_said("got lost")
    watch.until_started(2)
    assert watch.lines("starts") == [OWN, OWN]
    assert [line for line in watch.lines("said") if not line.startswith("talos-cache: ")] == []


def test_a_watch_that_is_killed_while_it_asks_asks_again(watch):
    watch.wait_for(WAITING)
    watch.answer_after((PING, FOR_EVER))
    # Long enough to be killed in time.
    text = watch.text()
    assert "\nsoon=6\n" in text
    watch.start(text.replace("\nsoon=6\n", "\nsoon=30\n"))
    watch.until_asked(1)
    watch.kill_the_one_that_watches()
    watch.until_said(HELD)
    watch.until_started(2)


def test_a_second_registry_that_takes_its_time_to_end_is_waited_for(watch):
    watch.wait_for(LOOK_UP_WAITING)
    watch.answer_after((PING, FOR_EVER))
    host, port = watch.addresses[2].split(":")
    with socket.create_server((host, int(port))) as old:
        watch.start()
        for _ in range(3):
            old.accept()[0].close()
    watch.until_said(HELD)
    assert watch.lines("pauses").count("1") < 30


def test_what_runs_is_what_the_entrypoint_started(watch):
    """A watch that is killed between two of its steps leaves no registry that refuses for good."""
    watch.wait_for(WAITING)
    watch.answer_after((PING, FOR_EVER))
    watch.start()
    watch.until_started(2)
    watch.until(lambda: (watch.folder / "state-held").exists())
    watch.write("state-again", "")
    os.kill(int((watch.folder / "state-pid").read_text()), signal.SIGTERM)
    watch.until_started(3)
    assert watch.lines("starts") == [OWN, REFUSING, OWN]
    watch.until(lambda: not (watch.folder / "state-held").exists())


def test_an_upstream_that_wants_a_login_gets_a_request_once_it_accepts_connections(watch):
    watch.upstream.close()
    watch.start()
    watch.until_started(1)
    note = watch.folder / f"state-basic.{watch.addresses[1]}"
    # The entrypoint removes one of another run first.
    watch.until(lambda: (watch.folder / "state-pid").exists())
    note.touch()
    watch.until_said("wants a user name")
    watch.until(lambda: watch.lines("pauses").count("6") >= 22)
    assert watch.lines("questions") == []
    with socket.create_server(("127.0.0.1", watch.upstream_port)):
        watch.until_said("is back")
    watch.until_started(2)
    assert watch.lines("starts") == [OWN, OWN]
    assert not note.exists()


def test_an_image_that_shows_no_goroutines_makes_no_noise(watch):
    (watch.folder / "no-debug").touch()
    watch.start()
    watch.until_started(1)
    time.sleep(5 / FASTER)
    assert watch.lines("said") == []


@pytest.mark.parametrize("first", ["instead=$(", "registry=$!"])
def test_told_to_end_while_no_registry_runs_it_ends(watch, first):
    text = watch.text()
    assert text.count(f"    {first}") == 1
    watch.start(text.replace(f"    {first}", f"    kill -TERM $$\n    {first}"))
    watch.process.wait(SECONDS)
    # Nothing goes on without it, as in a container.
    assert int((watch.folder / "state-pid").read_text()) not in watch.processes()
