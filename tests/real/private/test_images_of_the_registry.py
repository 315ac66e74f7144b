"""The two images of the registry differ in their configuration; our caches must not."""

import re
import time

import pytest
import requests
import yaml

from plan.caches.cache_plan import AS_ON_DOCKER_HUB
from tests.real.private import registry_process
from toolchain import registry_image

# What matters of `cmd/registry/config-dev.yml`, which ghcr.io/distribution/distribution comes with.
ON_GHCR = {
    "log": {"level": "debug", "fields": {"service": "registry", "environment": "development"}},
    "storage": {
        "delete": {"enabled": True},
        "cache": {"blobdescriptor": "inmemory"},
        "maintenance": {"uploadpurging": {"enabled": False}},
        "tag": {"concurrencylimit": 8},
    },
    "http": {"headers": {"X-Content-Type-Options": ["nosniff"]}},
    "health": {"storagedriver": {"enabled": True, "interval": "10s", "threshold": 3}},
}
ON_DOCKER_HUB = yaml.safe_load(registry_image.CONFIG)
LOG_SECONDS = 30
PURGES = "Starting upload purge in"
_MESSAGE = re.compile(r'level=(?P<level>[a-z]+) msg="(?P<message>[^"]+)"')


def levels_and_messages(folder, sections, environment, *, awaited):
    """What a registry with this configuration logs by one request and until `awaited` is there."""
    with registry_process.running(
        folder, sections=sections, environment=dict(environment)
    ) as registry:
        assert requests.get(f"{registry.url}/v2/", timeout=30).status_code == 200
        deadline = time.monotonic() + LOG_SECONDS
        while awaited not in registry.log:
            assert time.monotonic() < deadline, registry.log
            time.sleep(registry_process.POLL_SECONDS)
    return {(found["level"], found["message"]) for found in _MESSAGE.finditer(registry.log)}


@pytest.mark.parametrize("sections", [ON_DOCKER_HUB, ON_GHCR], ids=["Docker Hub", "ghcr.io"])
def test_with_our_settings_either_logs_what_is_of_use_and_purges_broken_off_uploads(
    tmp_path, sections
):
    seen = levels_and_messages(tmp_path, sections, AS_ON_DOCKER_HUB, awaited=PURGES)
    assert "debug" not in {level for level, _ in seen}


def test_without_them_the_one_on_ghcr_does_neither(tmp_path):
    seen = levels_and_messages(tmp_path, ON_GHCR, {}, awaited="level=debug")
    assert "debug" in {level for level, _ in seen}
    assert not [message for _, message in seen if message.startswith(PURGES)]
