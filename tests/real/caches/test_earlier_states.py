"""An update of the code changes nothing of what an earlier version has made."""

import pytest

from tests import earlier_states


@pytest.mark.parametrize(
    "earlier", [earlier_states.CACHES, earlier_states.HARBOR], ids=lambda one: one.folder
)
def test_a_preview_of_an_earlier_state_shows_no_change(checkout, earlier, tmp_path):
    assert earlier_states.changes(checkout, earlier, tmp_path) == set()
