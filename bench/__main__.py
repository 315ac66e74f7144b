"""How long `up`, `preview` and `destroy` take, as ratios to what a user would do without this.

And how long `verify` of a node's images takes, in seconds, as there is nothing to compare it with;
`status` over full caches and `logs` over a long log, as `bench/traffic.py` says;
and `export` and `import` of many small images, as ratios to `verify --deep` of the same images,
which reads every byte too. `--carry` measures these alone.

Every pair is measured in turn, five times, in one run on one machine; only ratios are compared with
targets. The caches' upstream is a registry on this machine, because the guide's containers exit if
theirs does not answer. The targets apply to the official plugins; with fallbacks they are reported.

The floor of each is that of `bench/bare`, which declares the same resources and does nothing else:
it is the share of the engine and its plugins. docs/speed.md says where the time goes.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import docker
import requests
import yaml

from bench import traffic
from bench.timing import RUNS, Ratio, ops, run_program, timed, timed_ops
from demo import images
from demo.upstream import Upstream
from host import entry_point
from host.console import say
from host.paths import ROOT, WORK
from host.private_files import private_folder
from host.pulumi_backend import file_url
from ops.docker import api
from ops.registry.ping import failure
from ops.stack.stack_files import PROJECT
from plan.settings.keys import DEFAULTS
from toolchain import engine, plugins

SIZES = (6, 24)
VERIFIED = 40
VERIFY_LIMIT_SECONDS = 2.0
# Small images are the worst case: the cost per blob counts, the cost per byte hardly does.
CARRIED = 500
PREFIX = "talos-cache-bench"
FOLDER = WORK / "bench"
BARE = ROOT / "bench" / "bare"
RESULTS = ROOT / "bench" / "results" / "latest.json"
FIRST_PORT = 15200
UPSTREAM_PORT = 15299
IMAGE = str(DEFAULTS["cache.image"])
LIMITS = {
    "up 6": 2.0,
    "up 24": 1.2,
    "preview 6": 1.3,
    "preview 24": 1.8,
    "destroy 6": 2.0,
    "destroy 24": 2.0,
    f"export {CARRIED}": 2.0,
    f"import {CARRIED}": 2.0,
}
# These are promised in seconds, whatever they are compared with.
SECONDS = {traffic.STATUS: 1.0, traffic.LOGS: 2.0}
# Further errors whose text is meant for the user.
KNOWN = (
    docker.errors.DockerException,
    requests.RequestException,
    TimeoutError,
)


class Bench:
    """What the measurements share."""

    def __init__(self, client: docker.DockerClient, upstream: Upstream) -> None:
        self.client = client
        self.upstream = upstream
        # As on a user's machine: some environments forbid Python to cache compiled files.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        self.memory = 0.0
        self.verify: list[float] = []
        self.traffic: list[Ratio] = []
        shutil.rmtree(FOLDER, ignore_errors=True)
        state = private_folder(FOLDER / "state")
        os.environ["PULUMI_BACKEND_URL"] = file_url(state)
        self._empty = FOLDER / "empty"
        self._write_empty_program()

    def measure(self, size: int) -> list[Ratio]:
        """All pairs for one count of caches, interleaved."""
        times: dict[str, list[float]] = {key: [] for key in _KEYS}
        self._pulumi("stack", "init", size=size)
        self._write_config(size)
        for run in range(RUNS):
            say(f"{size} caches, run {run + 1} of {RUNS}")
            times["run"].append(timed(lambda: self._docker_run(size)))
            times["rm"].append(timed(lambda: self._docker_rm(size)))
            times["up"].append(timed(lambda: self._up(size)))
            times["empty"].append(timed(self._preview_empty))
            times["preview"].append(timed(lambda: self._preview(size)))
            if run == 0:
                self._write_state(size)
            times["bare preview"].append(timed(lambda: self._preview(size, BARE)))
            if size == SIZES[0] and run == 0:
                self.memory = self._memory()
                self.verify = self._verify(size)
                self.traffic = traffic.measured(self.client, _caches(size), f"bench{size}")
            times["destroy"].append(timed(lambda: self._destroy(size)))
            times["bare up"].append(timed(lambda: self._up(size, BARE)))
            times["bare destroy"].append(timed(lambda: self._destroy(size, BARE)))
        return [
            Ratio(f"up {size}", times["up"], times["run"]),
            Ratio(f"(bare up {size})", times["bare up"], times["run"]),
            Ratio(f"preview {size}", times["preview"], times["empty"]),
            Ratio(f"(bare preview {size})", times["bare preview"], times["empty"]),
            Ratio(f"destroy {size}", times["destroy"], times["rm"]),
            Ratio(f"(bare destroy {size})", times["bare destroy"], times["rm"]),
        ]

    def _docker_run(self, size: int) -> None:
        """The guide's way: one `docker run` after another, until each answers."""
        for index in range(size):
            published = f"127.0.0.1:{FIRST_PORT + index}:5000"
            name = f"{PREFIX}-guide-{index}"
            remote = f"REGISTRY_PROXY_REMOTEURL={self.upstream.url}"
            argv = ["docker", "run", "-d", "-p", published, "-e", remote, "--restart", "always"]
            run_program([*argv, "-v", f"{name}:/var/lib/registry", "--name", name, IMAGE])
        for index in range(size):
            while failure(f"http://127.0.0.1:{FIRST_PORT + index}"):
                time.sleep(0.02)

    def _docker_rm(self, size: int) -> None:
        for index in range(size):
            name = f"{PREFIX}-guide-{index}"
            run_program(["docker", "rm", "-f", name])
            run_program(["docker", "volume", "rm", name])

    def _up(self, size: int, project: Path = ROOT) -> None:
        arguments = ("up", "--yes", "--skip-preview", "--config-file", _config(size))
        self._pulumi(*arguments, size=size, project=project)

    def _preview(self, size: int, project: Path = ROOT) -> None:
        # The bare program exports nothing, which does not count as a change of a resource.
        arguments = ("preview", "--expect-no-changes", "--config-file", _config(size))
        self._pulumi(*arguments, size=size, project=project)

    def _write_state(self, size: int) -> None:
        """Write what the bare program declares, after a second `up`, which has the ports' order."""
        self._up(size)
        state = FOLDER / "state.json"
        self._pulumi("stack", "export", "--file", str(state), size=size)
        os.environ["TALOS_CACHE_BENCH_STATE"] = str(state)
        os.environ["TALOS_CACHE_BENCH_DOCKER"] = metadata.version("pulumi_docker")

    def _preview_empty(self) -> None:
        run_program(["pulumi", "preview", "--stack", "empty", "--non-interactive"], cwd=self._empty)

    def _destroy(self, size: int, project: Path = ROOT) -> None:
        arguments = ("destroy", "--yes", "--skip-preview", "--config-file", _config(size))
        self._pulumi(*arguments, size=size, project=project)

    def _pulumi(self, *arguments: str, size: int, project: Path = ROOT) -> None:
        argv = ["pulumi", *arguments, "--stack", f"bench{size}", "--non-interactive"]
        run_program(argv, cwd=project)

    def _memory(self) -> float:
        """MiB that the idle caches use, without the file cache."""
        containers = self.client.containers.list(filters={"name": f"{PREFIX}-cache"})
        usages = [container.stats(stream=False)["memory_stats"] for container in containers]
        used = sum(int(usage["usage"]) - _file_cache(usage["stats"]) for usage in usages)
        return used / (1 << 20)

    def _verify(self, size: int) -> list[float]:
        """Seconds for a list of images that the first cache has, without hashing them."""
        host = "host0.example.com"
        team = [
            images.multi_platform(host, f"team/app{number}", "v1", b"app %d" % number)
            for number in range(VERIFIED)
        ]
        for image in team:
            self.upstream.push(image)
        list_ = FOLDER / "images.txt"
        list_.write_text("\n".join(image.reference for image in team))
        stack = f"bench{size}"
        shutil.copy(_config(size), ROOT / "stacks" / f"Pulumi.{stack}.yaml")
        ops("warm", stack, "--images", str(list_))
        return [timed_ops("verify", stack, "--images", str(list_)) for _ in range(RUNS)]

    def carry(self) -> list[Ratio]:
        """Export and import of many small images, each beside `verify --deep` of the same."""
        self._pulumi("stack", "init", size=1)
        self._write_config(1)
        self._up(1)
        small = [
            images.single("host0.example.com", f"small/app{number}", "v1", b"app %d" % number)
            for number in range(CARRIED)
        ]
        for image in small:
            self.upstream.push(image)
        list_, archive = FOLDER / "small.txt", FOLDER / "small.tar.zst"
        list_.write_text("\n".join(image.reference for image in small))
        self._write_stack("bench1", f"{PREFIX}-cache")
        ops("warm", "bench1", "--images", str(list_))
        times: dict[str, list[float]] = {"verify": [], "export": [], "import": []}
        deep = ("verify", "bench1", "--deep", "--images", str(list_))
        export = ("export", "bench1", str(archive), "--no-boot-assets", "--images", str(list_))
        # Each import has a volume of its own, removed at the end: ext4 without a journal creates
        # files more slowly, the more were deleted within the last minutes.
        for run in range(RUNS):
            say(f"{CARRIED} small images, run {run + 1} of {RUNS}")
            into = f"carried{run}"
            self._write_stack(f"bench{into}", f"{PREFIX}-{into}")
            times["verify"].append(timed_ops(*deep))
            times["export"].append(timed_ops(*export))
            times["import"].append(timed_ops("import", f"bench{into}", str(archive)))
            archive.unlink()
        self._destroy(1)
        return [
            Ratio(f"{name} {CARRIED}", times[name], times["verify"])
            for name in ("export", "import")
        ]

    def _write_stack(self, stack: str, prefix: str) -> None:
        """Write the stack file of one cache where commands look for it."""
        content = yaml.safe_load(Path(_config(1)).read_text())
        content["config"][f"{PROJECT}:prefix"] = prefix
        (ROOT / "stacks" / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump(content))

    def _write_config(self, size: int) -> None:
        upstreams = {
            f"host{index}.example.com": {
                "remoteUrl": self.upstream.url,
                "port": FIRST_PORT + index,
            }
            for index in range(size)
        }
        values = {"prefix": f"{PREFIX}-cache", "upstreams": upstreams, "cache": _DELETE}
        config = {f"{PROJECT}:{key}": value for key, value in values.items()}
        # The engine's salt of the shipped stack: this one is encrypted with the same passphrase.
        shipped = yaml.safe_load((ROOT / "stacks" / "Pulumi.docker.yaml").read_text())
        content = {"config": config, "encryptionsalt": shipped["encryptionsalt"]}
        Path(_config(size)).write_text(yaml.safe_dump(content))

    def _write_empty_program(self) -> None:
        self._empty.mkdir(parents=True)
        project = {
            "name": "empty",
            "runtime": {"name": "python", "options": {"virtualenv": str(WORK / "venv")}},
        }
        (self._empty / "Pulumi.yaml").write_text(yaml.safe_dump(project))
        (self._empty / "__main__.py").write_text("import pulumi\n")
        argv = ["pulumi", "stack", "init", "empty", "--non-interactive"]
        run_program(argv, cwd=self._empty)


_OURS = ("up", "preview", "destroy")
_KEYS = (*_OURS, *(f"bare {name}" for name in _OURS), "run", "empty", "rm")
_DELETE = {"onDestroy": "delete"}


def main() -> int:
    """Measure, print a table, write the results; the exit status does not depend on them."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--carry", action="store_true", help="export and import alone")
    only_carry = parser.parse_args().carry
    client = api.connect()
    used = plugins.describe(plugins.ensure(engine.ensure()))
    say(f"measuring with the plugins {used}")
    address = api.bridge_gateway(client)
    upstream = Upstream(
        client=client,
        name=f"{PREFIX}-upstream",
        image=IMAGE,
        address=address,
        port=UPSTREAM_PORT,
    )
    api.remove_named(client, PREFIX)
    upstream.start()
    try:
        bench = Bench(client, upstream)
        if only_carry:
            _print_rows(bench.carry(), used)
        else:
            rows = [row for size in SIZES for row in bench.measure(size)]
            _report([*rows, *bench.traffic, *bench.carry()], bench, used)
    finally:
        api.remove_named(client, PREFIX)
        shutil.rmtree(FOLDER, ignore_errors=True)
        for stack in (ROOT / "stacks").glob("Pulumi.bench*.yaml"):
            stack.unlink()
    return 0


def _report(rows: list[Ratio], bench: Bench, used: str) -> None:
    size = bench.client.images.get(IMAGE).attrs["Size"] / (1 << 20)
    _print_rows(rows, used)
    seconds = statistics.median(bench.verify)
    met = "met" if seconds <= VERIFY_LIMIT_SECONDS else "MISSED"
    print(f"verify of {VERIFIED} images: {seconds:.2f}s   limit {VERIFY_LIMIT_SECONDS}s {met}")
    print(f"memory of {SIZES[0]} idle caches: {bench.memory:.0f} MiB; image: {size:.0f} MiB")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(_results(rows, bench, size, used), indent=2) + "\n")


def _print_rows(rows: list[Ratio], used: str) -> None:
    print(f"plugins: {used}; {RUNS} runs, ratios as min / median / max; times are medians")
    print(f"{'':18}{'ours':>8}{'theirs':>8}   ratio               limit")
    for row in rows:
        ratios = row.ratios
        spread = " / ".join(
            f"{value:.2f}" for value in (min(ratios), statistics.median(ratios), max(ratios))
        )
        ours, theirs = statistics.median(row.ours), statistics.median(row.theirs)
        print(f"{row.name:18}{ours:7.2f}s{theirs:7.2f}s   {spread:20}{_verdict(row)}")


def _verdict(row: Ratio) -> str:
    if not (judged := _judged(row)):
        return "the floor of the row above"
    unit = "s" if row.name in SECONDS else ""
    return f"{judged['limit']}{unit} {'met' if judged['met'] else 'MISSED'}"


def _judged(row: Ratio) -> dict[str, float | bool] | None:
    """What is promised of a row, a ratio or seconds, and what it is; None of a floor."""
    in_seconds = row.name in SECONDS
    limit = SECONDS.get(row.name, LIMITS.get(row.name))
    value = statistics.median(row.ours if in_seconds else row.ratios)
    if limit is None:
        return None
    return {"value": round(value, 3), "limit": limit, "met": value <= limit}


def _results(rows: list[Ratio], bench: Bench, size: float, used: str) -> dict[str, Any]:
    targets = {row.name: judged for row in rows if (judged := _judged(row))}
    seconds = {row.name: {"ours": row.ours, "theirs": row.theirs} for row in rows}
    return {
        "plugins": used,
        "runs": RUNS,
        "targets": targets,
        "seconds": seconds,
        "verify": {
            "images": VERIFIED,
            "seconds": bench.verify,
            "limit": VERIFY_LIMIT_SECONDS,
            "met": statistics.median(bench.verify) <= VERIFY_LIMIT_SECONDS,
        },
        "idleMemoryMiB": {str(SIZES[0]): round(bench.memory, 1)},
        "imageMiB": round(size, 1),
    }


def _file_cache(stats: dict[str, int]) -> int:
    """The part of a container's memory that is file cache; cgroup v1 and v2 name it differently."""
    return stats.get("total_inactive_file", stats.get("inactive_file", 0))


def _caches(size: int) -> dict[str, int]:
    """Name of each container -> its port."""
    names = (f"{PREFIX}-cache-host{index}.example.com" for index in range(size))
    return {name: FIRST_PORT + index for index, name in enumerate(names)}


def _config(size: int) -> str:
    return str(FOLDER / f"Pulumi.bench{size}.yaml")


if __name__ == "__main__":
    sys.exit(entry_point.run("bench", main, KNOWN))
