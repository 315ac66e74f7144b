"""What `prune` looks at, and what it keeps; tests/real/offline prunes real caches."""

import argparse

import pytest

from ops.commands import arguments, image_selection, prune
from ops.errors import OpsError
from plan.settings.stack import parse
from plan.talos.versions import version_in

HOSTS = {"docker.io", "ghcr.io", "registry.k8s.io"}
LISTED = ["registry.k8s.io/pause:3.10", "ghcr.io/siderolabs/kubelet:v1.36.0"]


def sets(*options, cluster=None):
    parser = argparse.ArgumentParser()
    prune.add_arguments(parser)
    settings = parse({"cluster": cluster} if cluster else {})
    namespace = parser.parse_args(["--to", "1GB", *options])
    namespace.stack = "mine"
    found = prune._sets(arguments.read(prune.Arguments, namespace), HOSTS, settings)
    return {name: [str(image) for image in images] for name, images in found.items()}


@pytest.fixture
def talosctl(monkeypatch):
    """A double of what talosctl lists; the real ones are asked in tests/real/talos."""
    found = argparse.Namespace(program="talosctl", version=version_in("v1.13.0"))
    monkeypatch.setattr(image_selection.talosctl, "find", lambda: found)
    monkeypatch.setattr(image_selection.shutil, "which", lambda name: name)
    monkeypatch.setattr(image_selection, "_output_of", lambda argv: "\n".join(LISTED))


def test_what_a_cluster_needs_is_pinned_with_its_node_image(talosctl):
    cluster = {"name": "dev", "talosVersion": "v1.13.0"}
    node_image = "ghcr.io/siderolabs/talos:v1.13.0"
    assert sets("--keep-talos", "v1.13.0", "--keep-cluster", "dev", cluster=cluster) == {
        "talos v1.13.0": LISTED,
        "cluster dev": [node_image, *LISTED],
    }


def test_an_unknown_cluster_is_refused():
    with pytest.raises(OpsError, match="no cluster 'dev'; its clusters: none"):
        sets("--keep-cluster", "dev")


def refusal(**sizes):
    return prune.pruning.Decision(
        going=(), before={}, after={}, strays={}, sets=(), refused={}, **sizes
    )


@pytest.mark.parametrize(
    ("floor", "budget", "said"),
    [
        (102_400, 100_000, ["102.4 kB", "900 B", "--to 100.0 kB"]),
        (100_010, 100_000, ["100,010 bytes", "900 bytes", "--to 100,000 bytes"]),
        (3_000_000_001, 3_000_000_000, ["3,000,000,001 bytes", "--to 3,000,000,000 bytes"]),
        (8_100_000, 1_000_000, ["8.1 MB", "--to 1.0 MB"]),
    ],
)
def test_rounding_does_not_hide_why_nothing_goes(floor, budget, said):
    with pytest.raises(OpsError) as refused:
        prune._refuse(refusal(floor=floor, pinned=900, budget=budget))
    assert all(text in str(refused.value) for text in said)
