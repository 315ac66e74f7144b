"""Runs in namespaces of its own: starts the other Docker there, looks at it, runs pytest.

If it is Debian 13's, only that Docker has Debian 13 as its root, and everything but Debian's own
folders is the machine's there too: a path means the same to it as to the tests.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from host.console import say
from host.docker_endpoint import DEFAULT_SOCKET
from host.errors import SetupError
from host.locks import only_one
from host.paths import WORK
from tests.dockerd import Dockerd
from tests.real.engines.root import VERSION
from toolchain import node_runtime, registry_image

# The machine's own Docker programs, as they are, and as the set-up starts them for Talos nodes; the
# image store is the one they choose.
MACHINES = "machine"
FOR_TALOS = "talos"
# Image store of Debian 13's Docker -> the storage driver that Docker reports with it.
STORES = {"overlay2": "overlay2", "containerd": "overlayfs"}
# What the other Docker has of its own; the rest is the machine's.
DEBIAN = {"bin", "boot", "etc", "lib", "lib32", "lib64", "libx32", "lost+found", "sbin", "usr"}
# Makes its first argument the root, and runs the others there.
ENTER = 'cd "$0" && pivot_root . mnt && umount --lazy /mnt && exec "$@"'
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")


def main() -> int:
    """Run pytest on one Docker; returns its exit status."""
    root, name, *arguments = sys.argv[1:]
    with only_one(WORK / "engines" / f"{name}.lock"):
        return _run(Path(root), name, arguments)


def _run(debian: Path, name: str, arguments: Sequence[str]) -> int:
    folder = WORK / "engines" / name
    if folder.exists():  # of a run that was killed
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    _mount("--types", "tmpfs", "tmpfs", "/run")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    engine = _debians(debian, name, folder) if name in STORES else _machines(name, folder)
    engine.start()
    try:
        check(engine, name)
        registry_image.ensure()
        status = subprocess.run([*PYTEST, *arguments]).returncode
        if status < 0:
            say(f"pytest was ended by signal {-status}")
        return abs(status)
    except SetupError as error:
        say(f"tests on another Docker: {error}")
        return 1
    finally:
        engine.stop()
        shutil.rmtree(folder / "data")


def _root(debian: Path, folder: Path) -> Path:
    """Where Docker's root is mounted: the folder in the cache stays as it is."""
    root, upper, work = (folder / name for name in ("root", "upper", "work"))
    for path in (root, upper, work):
        path.mkdir()
    options = f"lowerdir={debian},upperdir={upper},workdir={work}"
    _mount("--types", "overlay", "--options", options, "overlay", str(root))
    # It is itself below one of the folders that are bound into it.
    _mount("--make-unbindable", str(root))
    for path in sorted(Path("/").iterdir()):
        if path.is_dir() and path.name not in DEBIAN:
            (root / path.name).mkdir(exist_ok=True)
            _mount("--rbind", str(path), str(root / path.name))
    return root


def _machines(name: str, folder: Path) -> Dockerd:
    wrapped = name == FOR_TALOS and node_runtime.capability_missing()
    options = node_runtime.dockerd_options() if wrapped else []
    argv = ["dockerd", "--data-root", str(folder / "data"), *options]
    return Dockerd(f"unix://{DEFAULT_SOCKET}", argv, folder / "log")


def _debians(debian: Path, store: str, folder: Path) -> Dockerd:
    root = _root(debian, folder)
    config = folder / "daemon.json"
    config.write_text(json.dumps({"features": {"containerd-snapshotter": store == "containerd"}}))
    # Not by chroot: `docker exec` enters the root of a container's mount namespace, which would
    # still be the machine's.
    enter = ["unshare", "--mount", "sh", "-c", ENTER, root]
    argv = [*enter, "dockerd", "--config-file", config, "--data-root", folder / "data"]
    return Dockerd(f"unix://{DEFAULT_SOCKET}", [str(part) for part in argv], folder / "log")


def check(engine: Dockerd, name: str) -> None:
    """Say which Docker and image store it is.

    Raises:
        SetupError: it is not the one that was asked for.
    """
    client = engine.client()
    version, driver = client.version()["Version"], client.info()["Driver"]
    wanted = STORES.get(name)
    if wanted and (driver != wanted or not version.startswith(VERSION)):
        raise SetupError(
            f"this is Docker {version} with the storage driver {driver}, "
            f"and not Docker {VERSION}* with {wanted}"
        )
    say(f"these tests run on a Docker {version} of their own ({name}, storage driver {driver})")


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    sys.exit(main())
