"""The fallback plugins answer as the official ones did when they were recorded."""

import os
from collections.abc import Iterator

import pytest

from tests.real.fallback_plugins import transcripts
from tests.real.fallback_plugins.conftest import words_for
from tests.real.fallback_plugins.known_differences import KNOWN
from tests.real.fallback_plugins.plugin_driver import Plugin, Run, started
from tests.real.fallback_plugins.scenarios import SCENARIOS


@pytest.fixture(scope="module")
def fallback_plugins(launchers) -> Iterator[dict[str, Plugin]]:
    """By package; always the fallback plugins, whichever are on PATH."""
    with (
        started(launchers / "pulumi-resource-docker", os.environ) as docker,
        started(launchers / "pulumi-resource-command", os.environ) as command,
    ):
        yield {"docker": docker, "command": command}


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(one, id=f"fallback plugin, {one.type.rpartition(':')[2]}: {one.name}")
        for one in SCENARIOS
    ],
)
def test_it_answers_as_the_official_plugin(scenario, fallback_plugins, image, prefix, tmp_path):
    plugin = fallback_plugins[scenario.type.partition(":")[0]]
    answered = Run(plugin, scenario, words_for(image, prefix, tmp_path)).play()
    recorded = transcripts.read(scenario.type)[scenario.name]
    unexpected, unseen = transcripts.sorted_out(
        transcripts.differences(recorded, answered), KNOWN, scenario
    )
    assert not unexpected, "\n".join(map(str, unexpected))
    assert not unseen, f"no longer different: {unseen}"
