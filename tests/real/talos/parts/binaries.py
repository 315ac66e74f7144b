"""The programs inside the nodes and images, each built from its Go module."""

import shutil
import tempfile
from pathlib import Path

from host.console import say
from host.errors import SetupError
from host.locks import made_once
from host.paths import tool_folder
from host.programs import output_of
from tests.real.talos.parts.versions import CNI, CONTAINERD, ETCD, KUBERNETES
from toolchain import go, node_runtime
from toolchain.steps import run

MODULES = Path(__file__).parent / "go"
TALOS_MODULE = "github.com/siderolabs/talos"
MACHINED = f"{TALOS_MODULE}/internal/app/machined"
KUBERNETES_VERSION = "k8s.io/component-base/version"
# Without the capability machined can't lower the score of what it starts and would try for ever.
OOM_SOURCE = Path("internal/app/machined/pkg/system/runner/process/process.go")
OOM_CONDITION = "if p.opts.OOMScoreAdj != 0 {"
OOM_CONDITION_PATCHED = "if p.opts.OOMScoreAdj > 0 {"


def machined(version: str) -> Path:
    """The program that is a Talos node: init, apid, trustd and more under their names."""
    module = MODULES / f"machined-{version}"
    if not node_runtime.capability_missing():
        return go.build("machined", version, MACHINED, module=module)

    def make(program: Path) -> None:
        say(f"building machined {version} for a machine without {node_runtime.CAPABILITY}, once")
        with tempfile.TemporaryDirectory() as folder:
            modfile = _patched_module(module, Path(folder))
            go.compile_program(program, module, MACHINED, flags=(f"-modfile={modfile}",))

    return made_once(tool_folder("machined-patched", version) / "machined", make)


def talos_source(version: str) -> Path:
    """Talos's own source in Go's module cache."""
    module = MODULES / f"machined-{version}"
    tool = go.ensure()
    run(
        f"fetching the source of Talos {version}",
        [tool, "mod", "download", TALOS_MODULE],
        cwd=module,
        env=go.environment(),
    )
    folder = output_of([tool, "-C", module, "list", "-m", "-f", "{{.Dir}}", TALOS_MODULE])
    if not folder:
        raise SetupError(f"Go does not tell where the source of Talos {version} is")
    return Path(folder)


def containerd() -> tuple[Path, ...]:
    """containerd, its shim and its client."""
    prefix = "github.com/containerd/containerd/v2"
    version = f"-X {prefix}/version.Version=v{CONTAINERD}"
    names = ("containerd", "containerd-shim-runc-v2", "ctr")
    return tuple(
        _build(name, CONTAINERD, "containerd", f"{prefix}/cmd/{name}", version) for name in names
    )


def cni_plugins() -> tuple[Path, ...]:
    """What connects pods: a bridge on each node, no overlay between them."""
    prefix = "github.com/containernetworking/plugins/plugins"
    names = ("main/bridge", "ipam/host-local", "main/loopback")
    return tuple(_build(name.split("/")[1], CNI, "cni", f"{prefix}/{name}") for name in names)


def etcd() -> Path:
    """The cluster's store."""
    return _build("etcd", ETCD, "etcd", "go.etcd.io/etcd/server/v3")


def kubernetes(name: str) -> Path:
    """One of Kubernetes's programs, as in `kubelet`."""
    major, minor, _ = KUBERNETES.split(".")
    variables = {"gitVersion": f"v{KUBERNETES}", "gitMajor": major, "gitMinor": minor}
    flags = " ".join(f"-X {KUBERNETES_VERSION}.{key}={value}" for key, value in variables.items())
    return _build(name, KUBERNETES, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", flags)


def pause() -> Path:
    """The program of a pod's sandbox: waits for a signal."""
    return _build("pause", "1", "pause", "talos-cache.local/tests/pause")


def _build(name: str, version: str, module: str, package: str, ldflags: str = "") -> Path:
    return go.build(name, version, package, ldflags, module=MODULES / module)


def _patched_module(module: Path, folder: Path) -> Path:
    """A go.mod in `folder` that takes Talos from a copy with the one condition changed."""
    copy = folder / "talos"
    version = module.name.partition("-")[2]
    shutil.copytree(talos_source(version), copy)
    source = copy / OOM_SOURCE
    text = source.read_text()
    if text.count(OOM_CONDITION) != 1:
        raise SetupError(f"{OOM_SOURCE} of Talos {version} is not what the patch is for")
    source.chmod(0o644)  # Go's module cache is read-only, and so is a copy of it
    source.write_text(text.replace(OOM_CONDITION, OOM_CONDITION_PATCHED))
    modfile = folder / "go.mod"
    modfile.write_text(f"{(module / 'go.mod').read_text()}\nreplace {TALOS_MODULE} => {copy}\n")
    shutil.copyfile(module / "go.sum", folder / "go.sum")
    return modfile
