"""A containerd of the tests' own, its client, and the folders that tell it about mirrors."""

import shutil
import subprocess
import time
from contextlib import contextmanager


@contextmanager
def running(folder):
    """A containerd of our own: the one on the machine is somebody else's. Yields its address."""
    address = folder / "containerd.sock"
    config = folder / "config.toml"
    config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    assert shutil.which("containerd"), "containerd comes with Docker's packages"
    argv = ["containerd", "--config", config, "--address", address]
    argv += ["--root", folder / "root", "--state", folder / "state"]
    log = (folder / "log").open("w")
    process = subprocess.Popen([str(part) for part in argv], stdout=log, stderr=log)
    deadline = time.monotonic() + 30
    try:
        while ctr(address, "version", check=False).returncode != 0:
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


def ctr(address, *arguments, check=True):
    argv = ["ctr", "--address", str(address), *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=check)


def hosts_dir(folder, mirrors):
    """Folders as Talos writes them from RegistryMirrorConfig documents (its hosts.toml has no
    `server`, so that containerd falls back to the upstream; there is none to reach here)."""
    for host, url, override in mirrors:
        target = folder / host
        target.mkdir(parents=True)
        lines = [f"[host.'{url}']", "capabilities = ['pull', 'resolve']"]
        lines += ["override_path = true"] if override else []
        (target / "hosts.toml").write_text("\n".join(["[host]", *lines, ""]))
    return folder
