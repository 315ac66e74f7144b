"""Finds what is left of a cluster of QEMU machines on this host, and removes it as root.

talosctl leaves one process per machine and service, a bridge, a firewall rule, and for each
machine a network namespace with what the CNI plugins made for it. Its own destroy needs the state
that it writes last, so it can't destroy what an interrupted create has made.
Source: siderolabs/talos, pkg/provision/providers/{qemu,vm}, v1.11.5 to v1.13.0.

A program of its own (`python -m ops.cluster.qemu_cleanup FOLDER CLUSTER TALOS_HOME`), so that all
of it is one call of sudo.
"""

import base64
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host import entry_point
from ops.cluster.folder import Folder
from ops.errors import OpsError

PROC = Path("/proc")
INTERFACES = Path("/sys/class/net")
# Only programs whose names start with one of these are ever ended.
PROGRAMS = ("talosctl", "qemu-system-", "qemu-kvm", "swtpm")
VIRTUAL_MACHINE = "qemu-"
# Each launcher has the CNI plugins tear down its machine's network, one after another.
GRACE_SECONDS = 15
POLL_SECONDS = 0.1
TOOL_SECONDS = 60
# talosctl's rule lets the machines talk to each other past Docker's rules.
CHAIN = "DOCKER-USER"
NAMESPACE = "cnitest-"


@dataclass(frozen=True)
class Process:
    """A process of the cluster; `program` is the file name in its command line."""

    pid: int
    program: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.program})"


def bridge_of(cluster: str) -> str:
    """Name that talosctl gives to the bridge of a cluster."""
    return f"talos{hashlib.sha256(cluster.encode()).hexdigest()[:8]}"


def has_interface(name: str) -> bool:
    """Whether this host has a network interface of this name."""
    return (INTERFACES / name).exists()


def processes(state: Path) -> list[Process]:
    """The processes that talosctl started for the cluster whose state is in this folder.

    Pid files prove nothing, because the kernel reuses the numbers. A command line that names the
    folder does, or output into a log there. Without root only the former is visible.
    """
    return [
        Process(int(entry.name), Path(argv[0]).name)
        for entry in PROC.iterdir()
        if entry.name.isdigit() and (argv := _argv(entry))
        if Path(argv[0]).name.startswith(PROGRAMS)
        if names(argv, state) or _writes_into(entry, state)
    ]


def names(argv: Iterable[str], folder: Path) -> bool:
    """Whether a command line names a folder or something in it, alone or within an option."""
    return any(f"{folder}/" in f"{part}/" for part in argv)


def left(folder: Folder, cluster: str) -> list[str]:
    """What any user can see of the cluster, as texts."""
    parts = [str(process) for process in processes(folder.state)]
    if has_interface(bridge := bridge_of(cluster)):
        parts.append(f"network interface {bridge}")
    state = folder.state / cluster
    if state.exists():
        parts.append(f"folder {state}")
    return parts


def sweep(folder: Folder, cluster: str, home: Path) -> None:
    """Remove all that is left of the cluster; gone already is fine.

    Args:
        folder: the cluster's private folder; the caller has checked whose cluster it is.
        cluster: its name.
        home: talosctl's folder for CNI plugins and their results.

    Raises:
        OpsError: something could not be removed; names all of it.
    """
    bridge = bridge_of(cluster)
    steps: tuple[Callable[[], None], ...] = (
        lambda: _end(folder.state),
        lambda: _detach_machines(home, cluster),  # by now only what no launcher could detach
        lambda: _remove_bridge(bridge),
        lambda: _remove_rules(bridge),
        lambda: _remove_folder(folder.state),
    )
    failures = []
    for step in steps:
        try:
            step()
        except (OpsError, OSError, subprocess.TimeoutExpired) as error:
            failures.append(str(error))
    if failures:
        raise OpsError("; ".join(failures))


def rules_of(bridge: str, printed: str) -> int:
    """How many times talosctl's rule appears in what `iptables -S` prints."""
    rule = f"-A {CHAIN} -i {bridge} -o {bridge} -j ACCEPT"
    return sum(line.strip() == rule for line in printed.splitlines())


def main(arguments: Sequence[str]) -> int:
    """Sweep, as root; returns the exit status."""
    folder, cluster, home = arguments
    try:
        sweep(Folder(Path(folder)), cluster, Path(home))
    except OpsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _argv(entry: Path) -> list[str]:
    """The command line; empty for zombies, kernel threads, and what has just ended."""
    try:
        return (entry / "cmdline").read_text(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def _writes_into(entry: Path, folder: Path) -> bool:
    for descriptor in ("0", "1", "2"):
        # Another user's process, or one that has just ended.
        with contextlib.suppress(OSError):
            if str((entry / "fd" / descriptor).readlink()).startswith(f"{folder}/"):
                return True
    return False


def _end(state: Path) -> None:
    """End the processes: a launcher ends its machine itself, but restarts one that ends alone."""
    rounds = ((signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGKILL, True))
    for signal_number, machines_too in rounds:
        targets = [
            process
            for process in processes(state)
            if machines_too or not process.program.startswith(VIRTUAL_MACHINE)
        ]
        for process in targets:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal_number)
        _wait_until_gone(targets, state)
    if remaining := processes(state):
        raise OpsError(f"{', '.join(map(str, remaining))} can't be ended")


def _wait_until_gone(targets: Sequence[Process], state: Path) -> None:
    deadline = time.monotonic() + GRACE_SECONDS
    while not set(targets).isdisjoint(processes(state)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _detach_machines(home: Path, cluster: str) -> None:
    """Tear down the networks that the CNI library still lists for this cluster."""
    for path in sorted((home / "cni" / "cache" / "results").glob(f"{cluster}-*")):
        if _read_note(path).get("networkName") == cluster:
            _detach(path, home)


def _read_note(path: Path) -> dict[str, Any]:
    try:
        note: dict[str, Any] = json.loads(path.read_text())
    except ValueError:
        return {}
    return note


def _detach(path: Path, home: Path) -> None:
    """Have the plugins tear down a network whose launcher could not.

    As the CNI specification says: the plugins in reverse order, with the result of the add.
    """
    note = _read_note(path)
    config = json.loads(base64.b64decode(note["config"]))
    namespace = Path(note.get("netns") or "/nowhere")
    variables = {
        "CNI_COMMAND": "DEL",
        "CNI_CONTAINERID": note["containerId"],
        "CNI_NETNS": str(namespace) if namespace.exists() else "",
        "CNI_IFNAME": note["ifName"],
        "CNI_PATH": str(home / "cni" / "bin"),
        "CNI_ARGS": ";".join(f"{key}={value}" for key, value in note.get("cniArgs") or []),
    }
    shared = {"name": config["name"], "cniVersion": config["cniVersion"]}
    for plugin in reversed(config.get("plugins") or [config]):
        program = home / "cni" / "bin" / plugin["type"]
        request = json.dumps({**plugin, **shared, "prevResult": note.get("result")})
        if program.exists():
            _run([str(program)], request, {**os.environ, **variables})
    if namespace.name.startswith(NAMESPACE):
        if namespace.exists() and os.path.ismount(namespace):
            _run(["umount", str(namespace)])
        namespace.unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _remove_bridge(bridge: str) -> None:
    if has_interface(bridge):
        _run(["ip", "link", "delete", bridge])


def _remove_rules(bridge: str) -> None:
    if shutil.which("iptables") is None:
        return  # without it, talosctl made no rule
    for _ in range(rules_of(bridge, _run(["iptables", "-w", "-S"]))):
        match = ["-i", bridge, "-o", bridge, "-j", "ACCEPT"]
        _run(["iptables", "-w", "-D", CHAIN, *match])


def _remove_folder(state: Path) -> None:
    if state.exists():
        shutil.rmtree(state)  # which refuses a symlink


def _run(argv: Sequence[str], stdin: str = "", environment: dict[str, str] | None = None) -> str:
    """Run a tool; returns what it prints.

    Raises:
        OpsError: it fails.
    """
    done = subprocess.run(
        argv, input=stdin, env=environment, capture_output=True, text=True, timeout=TOOL_SECONDS
    )
    if done.returncode != 0:
        message = (done.stderr or done.stdout).strip()
        raise OpsError(f"{' '.join(argv)} ended with {done.returncode}: {message}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(entry_point.run("sweep", lambda: main(sys.argv[1:])))
