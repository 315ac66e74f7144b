"""`make demo`: the caches proved on an embedded registry, line by line, with nothing left behind.

An upstream registry on this machine is filled with images made here. The stack `demo` starts a
cache per upstream; a real client pulls everything through them; then the upstream is unplugged and
everything must come from the caches alone, also after a destroy and another `up`.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import docker
import requests

from demo import images
from demo.client import pull
from demo.upstream import Upstream
from host import entry_point
from host.errors import TalosCacheError
from host.locks import only_one
from host.paths import (
    DEMO,
    DEMO_STATE,
    ROOT,
    user_cache,
)
from host.private_files import private_folder
from host.pulumi_backend import file_url
from ops import whose
from ops.docker import api
from ops.engine import cli
from ops.registry.ping import failure, wait_for_answer
from ops.stack import stack_files
from plan.ownership import CHECKOUT_LABEL, PROJECT_LABEL, STACK_LABEL
from plan.settings.keys import DEFAULTS
from plan.settings.stack import parse
from toolchain import docker_engine
from toolchain.steps import progress

STACK = "demo"
UPSTREAM_NAME = "talos-cache-demo-upstream"
CONFIG = DEMO / "Pulumi.demo.yaml"
LABELS = {PROJECT_LABEL: stack_files.PROJECT, STACK_LABEL: STACK}
CHECKOUT = whose.checkout()
READY_SECONDS = 30

IMAGES = (
    images.single("docker.io", "library/hello", "1", b"hello from docker.io\n" * 50_000),
    images.multi_platform("registry.k8s.io", "demo/two-platforms", "v1", b"one for each platform"),
    images.artifact("ghcr.io", "demo/artifact", "v1", b"not an image at all\n"),
)


class DemoError(TalosCacheError):
    """The demo did not prove what it set out to."""


# Further errors whose text is meant for the user.
KNOWN = (
    docker.errors.DockerException,
    requests.RequestException,
    TimeoutError,
)


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What the steps share."""

    client: docker.DockerClient
    upstream: Upstream

    def pulumi(self, doing: str, *arguments: str) -> None:
        """Run a real `pulumi` command on the demo's own state."""
        log = DEMO / "pulumi.log"
        with progress(doing), log.open("a") as output:
            status = subprocess.run(
                ["pulumi", *arguments, "--non-interactive", "--stack", STACK],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            ).returncode
        if status != 0:
            end = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
            raise DemoError(f"{doing}: pulumi ended with status {status}\n{end}")

    def up(self, doing: str) -> dict[str, Any]:
        """`pulumi up`, and a preview that finds nothing left to do; returns the stack's outputs."""
        config = ("--config-file", str(CONFIG))
        self.pulumi(doing, "up", "--yes", "--skip-preview", *config)
        self.pulumi("looking for changes", "preview", "--expect-no-changes", *config)
        return cli.stack_outputs(STACK)

    def pull_everything(self, outputs: dict[str, Any]) -> str:
        """Pull every image through its cache, by tag and by digest; returns their references."""
        with progress("pulling"):
            for image in IMAGES:
                for by_digest in (False, True):
                    endpoint = outputs["localEndpoints"][image.host]
                    pull(endpoint, image, by_digest=by_digest)
        return ", ".join(image.reference for image in IMAGES)

    def containers(self) -> list[str]:
        """Names of the stack's containers, running or not."""
        containers = api.containers(self.client)
        return [container.name for container in containers if container.has_labels(LABELS)]


def main() -> int:
    """Run the demo; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave everything running at the end")
    keep = parser.parse_args().keep
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` runs
    # Its ports and names are the same in every checkout.
    with only_one(user_cache() / "locks" / "demo.lock"):
        # Another checkout's demo, for which this one waited, may have stopped its dockerd.
        docker_engine.ensure(docker_engine.choose(), "demo")
        _run(keep=keep)
    return 0


def _run(*, keep: bool) -> None:
    started = time.monotonic()
    demo = _prepared()
    try:
        _prove(demo)
        print(f"Proved in {time.monotonic() - started:.0f} s.", flush=True)
    finally:
        if keep:
            print(f"Kept: the caches, their state in {DEMO_STATE}, and {UPSTREAM_NAME}.")
        else:
            _remove_everything(demo)


def _prepared() -> Demo:
    """Clean up after a demo that was killed, and write the stack file for this machine."""
    client = api.connect()
    settings = parse(stack_files.read(stack_files.path_of(STACK)))
    template = settings.upstreams[0].remote_url
    gateway = api.bridge_gateway(client)
    port = int(template.rpartition(":")[2])
    upstream = Upstream(
        client=client,
        name=UPSTREAM_NAME,
        image=str(DEFAULTS["cache.image"]),
        address=gateway,
        port=port,
        labels={**LABELS, CHECKOUT_LABEL: CHECKOUT},
    )
    demo = Demo(client=client, upstream=upstream)
    _refuse_leftovers_of_others(client)
    _remove_everything(demo, stop_docker=False)
    private_folder(DEMO_STATE)
    text = stack_files.path_of(STACK).read_text()
    CONFIG.write_text(text.replace(template, upstream.url))
    os.environ["PULUMI_BACKEND_URL"] = file_url(DEMO_STATE)
    return demo


def _refuse_leftovers_of_others(client: docker.DockerClient) -> None:
    """Stop if the demo of another checkout has left containers: they may be kept on purpose."""
    left: dict[str, list[str]] = {}
    for container in api.containers(client):
        # The folder alone identifies a checkout: a machine's name may change.
        folder = dict(container.labels).get(CHECKOUT_LABEL, CHECKOUT).partition(":")[2]
        if container.has_labels(LABELS) and folder != str(ROOT):
            left.setdefault(folder, []).append(container.name)
    if left:
        names = " ".join(sorted(name for names in left.values() for name in names))
        raise DemoError(
            f"a demo in {', '.join(sorted(left))} has left containers (kept with KEEP=1, or "
            f"killed): make demo there removes them, or docker rm -f {names}"
        )


def _prove(demo: Demo) -> None:
    step = _Steps()
    demo.upstream.start()
    for image in IMAGES:
        demo.upstream.push(image)
    kinds = "an image, an index for two platforms, and an artifact that is not an image"
    step.proved(f"an upstream registry has {kinds}, made here")

    cli.select(STACK)
    outputs = demo.up("bringing up the caches")
    caches = f"{len(outputs['caches'])} caches answer, one per upstream registry"
    step.proved(f"pulumi up: {caches}; a preview finds nothing to change")
    pulled = demo.pull_everything(outputs)
    step.proved(f"pulled through the caches by tag and by digest, every byte as made: {pulled}")

    demo.upstream.stop()
    if not failure(demo.upstream.local_url):
        raise DemoError("the upstream was stopped, yet it answers")
    _restart(demo, outputs)
    step.proved("the upstream is unplugged, the caches are restarted, and they came up without it")
    demo.pull_everything(outputs)
    step.proved("everything pulled again, from the caches alone")

    demo.pulumi("destroying the stack", "destroy", "--yes", "--skip-preview")
    if left := [name for name in demo.containers() if name != UPSTREAM_NAME]:
        raise DemoError(f"the stack was destroyed, yet these are left: {', '.join(left)}")
    step.proved("pulumi destroy: no container is left, the volumes are kept")
    outputs = demo.up("bringing the caches up again")
    demo.pull_everything(outputs)
    step.proved(
        "pulumi up again, the upstream still unplugged: the data was kept, everything pulled"
    )


class _Steps:
    """Prints each thing proved, with the time since the last."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def proved(self, text: str) -> None:
        now = time.monotonic()
        print(f"  ok  {text} ({now - self._last:.1f} s)", flush=True)
        self._last = now


def _restart(demo: Demo, outputs: dict[str, Any]) -> None:
    for cache in outputs["caches"].values():
        demo.client.containers.get(cache["container"]).restart(timeout=2)
    deadline = time.monotonic() + READY_SECONDS
    for endpoint in outputs["localEndpoints"].values():
        if why := wait_for_answer(endpoint, deadline - time.monotonic()):
            raise DemoError(f"{endpoint} does not answer without its upstream: {why}")


def _remove_everything(demo: Demo, *, stop_docker: bool = True) -> None:
    """Remove containers, volumes, state, and the dockerd that was started for this."""
    demo.upstream.remove()
    for name in demo.containers():
        demo.client.containers.get(name).remove(force=True, v=True)
    prefix = str(stack_files.read(stack_files.path_of(STACK))["prefix"])
    for volume in demo.client.volumes.list(filters={"label": PROJECT_LABEL}):
        if volume.name.startswith(f"{prefix}-"):
            volume.remove()
    shutil.rmtree(DEMO, ignore_errors=True)
    if stop_docker:
        docker_engine.stop_if_ours("demo")


if __name__ == "__main__":
    sys.exit(entry_point.run("demo", main, KNOWN))
