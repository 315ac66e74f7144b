"""Every test is in a tier."""

from host.paths import ROOT
from tests import tiers


def test_the_halves_of_talos_are_all_of_it():
    modules = {
        path.stem.removeprefix("test_") for path in (ROOT / tiers.TALOS_FOLDER).glob("test_*")
    }
    halves = [name for half in tiers.TALOS_HALVES.values() for name in half]
    assert sorted(halves) == sorted(modules)


def test_what_the_quick_tests_leave_out_is_in_another_tier():
    commands = [part for tier in tiers.ALL for command in tier.commands for part in command]
    assert set(tiers.ELSEWHERE) <= set(commands)
    [caches] = [tier for tier in tiers.ALL if tier.name == "caches"]
    for module in tiers.WHOLE_STACKS:
        assert (ROOT / module).exists()
        assert f"--ignore={module}" in caches.commands[-1]


def test_apart_the_same_tests_run():
    for tier in tiers.ALL:
        assert arguments(tier.apart()) == arguments(tier)


def arguments(tier):
    """Of each run of pytest, wherever it runs: on a Docker of its own, that is named first."""
    plain, apart = len(tiers.PYTEST), len(tiers.ENGINE)
    return [
        command[plain:] if tiers.is_pytest(command) else command[apart + 1 :]
        for command in tier.commands
        if tiers.is_pytest(command) or command[:apart] == tiers.ENGINE
    ]
