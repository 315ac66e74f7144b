"""Files that must repeat a pinned version repeat the right one."""

import re
from pathlib import Path

import pytest

from host.paths import ROOT
from plan.settings.keys import DEFAULTS
from tests.real.talos.parts import versions as parts
from toolchain import versions
from toolchain.registry_image import IMAGE

TOOLS = ROOT / "toolchain" / "go"
PARTS = ROOT / "tests/real/talos/parts/go"
TALOS = "github.com/siderolabs/talos"


@pytest.mark.parametrize(
    ("module", "dependency", "version"),
    [
        (TOOLS / "pulumi", "github.com/pulumi/pulumi/pkg/v3", versions.PULUMI),
        (TOOLS / "registry", "github.com/distribution/distribution/v3", versions.REGISTRY),
        *((TOOLS / f"talosctl-{version}", TALOS, version) for version in versions.TALOSCTL),
        *((PARTS / f"machined-{version}", TALOS, version) for version in parts.TALOS),
        (PARTS / "containerd", "github.com/containerd/containerd/v2", parts.CONTAINERD),
        (PARTS / "cni", "github.com/containernetworking/plugins", parts.CNI),
        (PARTS / "etcd", "go.etcd.io/etcd/server/v3", parts.ETCD),
        (PARTS / "kubernetes", "k8s.io/kubernetes", parts.KUBERNETES),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_a_go_module_builds_the_version_that_is_announced(module, dependency, version):
    assert f"require {dependency} v{version}\n" in (module / "go.mod").read_text()


def test_every_staging_module_of_kubernetes_is_of_its_version():
    replaced = re.findall(
        r"^\t(\S+) => (\S+) v(\S+)$", (PARTS / "kubernetes" / "go.mod").read_text(), re.MULTILINE
    )
    assert len(replaced) > 30
    expected = parts.KUBERNETES.replace("1.", "0.", 1)
    assert [row for row in replaced if row[0] != row[1] or row[2] != expected] == []


def go_required_by(module):
    version = re.search(r"^go (\S+)$", (module / "go.mod").read_text(), re.MULTILINE)[1]
    return tuple(map(int, version.split(".")))


def test_what_every_user_may_need_requires_no_newer_go_than_the_set_up_accepts():
    for name in ("pulumi", "registry"):
        assert go_required_by(TOOLS / name) <= versions.GO_MINIMUM, name


def test_the_go_that_is_installed_is_accepted_and_builds_every_module():
    packaged = tuple(map(int, versions.GO_PACKAGE.partition("==")[2].split(".")))
    assert packaged >= versions.GO_MINIMUM
    for path in (*TOOLS.glob("*/go.mod"), *PARTS.glob("*/go.mod")):
        assert go_required_by(path.parent) <= packaged, path


def test_the_image_that_is_built_is_the_default_one():
    assert DEFAULTS["cache.image"] == IMAGE


def test_requirements_are_pinned_exactly():
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = (ROOT / name).read_text().splitlines()
        packages = [line for line in lines if line and not line.startswith("#")]
        assert packages
        assert [line for line in packages if "==" not in line] == []
