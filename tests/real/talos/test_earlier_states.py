"""An update of the code changes nothing of a cluster that an earlier version has made."""

from tests import earlier_states


def test_a_preview_of_an_earlier_cluster_shows_no_change(clusters, tmp_path):
    clusters.use_talosctl("1.13.0")
    assert earlier_states.changes(clusters.checkout, earlier_states.CLUSTER, tmp_path) == set()
