"""`warm` where the registry can't be made to behave so: tests/offline has the real one."""

from dataclasses import dataclass, field

import pytest

from ops import warm
from ops.caches import Cache
from ops.volumes import folder
from plan.images import ImageReference, Platform
from plan.store import EMPTY, Repository, Store, layer_link
from plan.warming import Wanted

BLOB = "sha256:" + "a" * 64
CACHE = Cache(host="docker.io", name="registry-docker.io", local_endpoint="", image="registry")
IMAGE = ImageReference(host="docker.io", repository="team/b", tag="v1")


def holding(*layers):
    linked = Repository(tags={}, revisions=frozenset(), layers=frozenset(layers))
    return Store(blobs=dict.fromkeys(layers, 7), repositories={"team/a": linked})


@dataclass
class VolumesDouble:
    """A double of the volumes: each look into them finds the next of these stores."""

    seen: list
    written: list = field(default_factory=list)

    def stores(self):
        return {"docker.io": self.seen.pop(0) if len(self.seen) > 1 else self.seen[0]}

    def link(self, links):
        self.written += links
        self.seen[0] = Store(
            blobs=self.seen[0].blobs,
            repositories=dict.fromkeys(["team/a", "team/b"], self.seen[0].repositories["team/a"]),
        )


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(warm, "POLL_SECONDS", 0)
    monkeypatch.setattr(warm, "SETTLE_SECONDS", 0.05)


def settled(*seen, said=()):
    volumes = VolumesDouble(list(seen))
    doing = warm._Run(
        caches={"docker.io": CACHE},
        volumes=volumes,
        stores={"docker.io": EMPTY},
        platform=Platform(os="linux", architecture="amd64"),
        parallel=1,
        said=dict(said),
        wanted={
            "docker.io": (
                Wanted(digest=BLOB, size=7, fetch=True, repositories=("team/a", "team/b")),
            )
        },
    )
    (result,) = warm._settled(doing, [IMAGE])
    return result, volumes


def test_a_blob_that_is_stored_late_is_linked_all_the_same():
    _, volumes = settled(EMPTY, EMPTY, holding(BLOB))
    assert volumes.written == [(f"{folder(CACHE)}/{layer_link('team/b', BLOB)}", BLOB)]


def test_what_is_never_stored_is_not_waited_for_forever():
    result, volumes = settled(EMPTY)
    assert result.faults
    assert volumes.written == []


def test_what_was_not_delivered_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(warm, "SETTLE_SECONDS", 3600)
    result, _ = settled(EMPTY, said={("docker.io", str(IMAGE)): "404 manifest unknown"}.items())
    assert result.faults
