"""What is kept of the engine's answers about YAML is what the engine that is used here says."""

import pytest

from tests.engine_answers import answers_again, kept

pytestmark = pytest.mark.e2e


def test_the_engine_reads_yaml_as_it_did_when_it_was_asked():
    assert answers_again() == kept()
