"""What is kept of the engine's answers about YAML is what the engine that is used here says."""

from tests.engine_answers import answers_again, kept


def test_the_engine_reads_yaml_as_it_did_when_it_was_asked():
    assert answers_again() == kept()
