"""What has to repeat a pinned version repeats the right one."""

import re
from pathlib import Path

import pytest

from plan.settings import DEFAULTS
from toolchain import versions
from toolchain.registry_image import IMAGE

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize(
    ("module", "dependency", "version"),
    [
        ("pulumi", "github.com/pulumi/pulumi/pkg/v3", versions.PULUMI),
        ("registry", "github.com/distribution/distribution/v3", versions.REGISTRY),
    ],
)
def test_a_go_module_builds_the_version_that_is_announced(module, dependency, version):
    text = (ROOT / "toolchain" / "go" / module / "go.mod").read_text()
    assert f"require {dependency} v{version}\n" in text


def test_the_go_modules_ask_for_no_newer_go_than_the_set_up_accepts():
    for path in (ROOT / "toolchain" / "go").glob("*/go.mod"):
        asked = re.search(r"^go (\S+)$", path.read_text(), re.MULTILINE)[1]
        assert tuple(map(int, asked.split("."))) <= versions.GO_MINIMUM, path


def test_the_go_that_is_installed_is_new_enough():
    packaged = versions.GO_PACKAGE.partition("==")[2]
    assert tuple(map(int, packaged.split("."))) >= versions.GO_MINIMUM


def test_the_image_that_is_built_is_the_default_one():
    assert DEFAULTS["cache.image"] == IMAGE


def test_requirements_are_pinned_exactly():
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = (ROOT / name).read_text().splitlines()
        packages = [line for line in lines if line and not line.startswith("#")]
        assert packages
        assert [line for line in packages if "==" not in line] == []
