"""What the tests of the watchdog's script share."""

import pytest

from tests.unit.components.watchdog import Watch
from toolchain import registry_image


@pytest.fixture
def watch(tmp_path):
    registry_image.busybox()
    made = Watch(tmp_path)
    yield made
    made.end()
