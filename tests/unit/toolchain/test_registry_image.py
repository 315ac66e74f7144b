"""Where the registry's image is taken from, with a fake `docker` command."""

import json

import pytest

from tests.fakes import docker_command
from toolchain import registry_image, steps
from toolchain.registry_image import IMAGE, IMAGE_ON_GHCR


@pytest.fixture
def docker(tmp_path, monkeypatch):
    """Returns a function that installs the fake; it returns a function that lists its pulls."""
    monkeypatch.setattr(steps, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(registry_image, "_root_filesystem", lambda: b"a tar archive")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def install(*can_be_pulled):
        state = docker_command.install(tmp_path, can_be_pulled=can_be_pulled)

        def pulled():
            asked = json.loads(state.read_text())["asked"]
            return [line[-1] for line in asked if line[0] == "pull"]

        return pulled

    return install


def test_docker_hub_is_asked_first(docker, capsys):
    pulled = docker(IMAGE, IMAGE_ON_GHCR)
    assert registry_image.ensure() == f"{IMAGE} (pulled)"
    assert pulled() == [IMAGE]
    assert registry_image.ensure() == f"{IMAGE} (pulled)"
    assert pulled() == [IMAGE], "it is there"
    assert capsys.readouterr().err == ""


def test_if_docker_hub_refuses_the_image_at_ghcr_gets_the_usual_name(docker, capsys):
    pulled = docker(IMAGE_ON_GHCR)
    for _ in range(2):
        assert registry_image.ensure() == f"{IMAGE} (pulled from ghcr.io)"
    assert pulled() == [IMAGE, IMAGE_ON_GHCR]
    printed = capsys.readouterr().err
    assert IMAGE in printed
    assert docker_command.REFUSED in printed


def test_if_both_refuse_it_is_built(docker, capsys):
    pulled = docker()
    for _ in range(2):
        assert registry_image.ensure() == f"{IMAGE} (built here)"
    assert pulled() == [IMAGE, IMAGE_ON_GHCR]
    on_hub, on_ghcr, build = capsys.readouterr().err.splitlines()
    assert on_hub.startswith(IMAGE)
    assert on_ghcr.startswith(IMAGE_ON_GHCR)
    assert f"building {IMAGE}" in build
