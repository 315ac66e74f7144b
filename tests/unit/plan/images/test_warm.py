"""What is downloaded to fill a cache: every blob once."""

from dataclasses import replace

import pytest

from plan.images.manifests import Descriptor
from plan.images.reference import ImageReference
from plan.images.storage import DAMAGED, MISSING, WRONG_SIZE, Fault, Repository, Store
from plan.images.warm import Wanted, has_manifest, is_awaited, lacking, missing_links, reasons

SHARED, OWN = "sha256:" + "a" * 64, "sha256:" + "b" * 64
IMAGE = ImageReference(host="docker.io", repository="team/a", tag="v1")


def part(digest, size=7):
    return Descriptor(part="layer", media_type="x", digest=digest, size=size)


def holding(*layers, blobs=()):
    linked = Repository(tags={}, revisions=frozenset(), layers=frozenset(layers))
    return Store(blobs=dict.fromkeys((*layers, *blobs), 7), repositories={"team/a": linked})


def test_a_linked_blob_is_not_missing():
    assert lacking(holding(SHARED), [("team/a", part(SHARED))]) == ()


def test_a_blob_of_two_repositories_is_fetched_once():
    parts = [("team/a", part(SHARED)), ("team/b", part(SHARED)), ("team/b", part(OWN))]
    assert lacking(holding(), parts) == (
        Wanted(digest=SHARED, size=7, fetch=True, repositories=("team/a", "team/b")),
        Wanted(digest=OWN, size=7, fetch=True, repositories=("team/b",)),
    )


def test_what_another_repository_has_is_only_linked():
    wanted = Wanted(digest=SHARED, size=7, fetch=False, repositories=("team/b",))
    assert lacking(holding(SHARED), [("team/b", part(SHARED))]) == (wanted,)
    assert lacking(holding(blobs=[SHARED]), [("team/b", part(SHARED))]) == (wanted,)


def test_a_link_without_its_blob_is_fetched():
    store = holding(SHARED)
    emptied = Store(blobs={}, repositories=store.repositories)
    (wanted,) = lacking(emptied, [("team/a", part(SHARED))])
    assert wanted.fetch


def test_a_repository_has_a_manifest_that_is_linked_and_stored():
    linked = Repository(tags={}, revisions=frozenset([SHARED, OWN]), layers=frozenset())
    store = Store(blobs={SHARED: 7}, repositories={"team/a": linked})
    assert has_manifest(store, "team/a", SHARED)
    assert not has_manifest(store, "team/a", OWN), "linked, but not there"
    assert not has_manifest(store, "team/b", SHARED), "there, but not linked"


def test_a_link_is_written_once_its_blob_is_there():
    wanted = lacking(holding(), [("team/a", part(SHARED)), ("team/b", part(SHARED))])
    assert missing_links(holding(), wanted) == ()
    assert missing_links(holding(SHARED), wanted) == (("team/b", SHARED),)
    both = holding(blobs=[SHARED])
    assert missing_links(both, wanted) == (("team/a", SHARED), ("team/b", SHARED))


def fault(problem, digest=OWN):
    return Fault(part="layer", digest=digest, size=7, problem=problem)


@pytest.mark.parametrize(
    ("faults", "said", "awaited"),
    [
        ((), {}, False),
        ((fault(MISSING),), {}, True),
        ((fault(MISSING),), {("docker.io", OWN): "404"}, False),
        ((fault(MISSING),), {("quay.io", OWN): "404"}, True),
        ((fault(MISSING), fault(MISSING, SHARED)), {("docker.io", OWN): "404"}, True),
        ((fault(MISSING),), {("docker.io", str(IMAGE)): "404"}, False),
        ((fault(WRONG_SIZE), fault(DAMAGED, SHARED)), {}, False),
    ],
)
def test_only_what_was_delivered_may_still_be_stored(faults, said, awaited):
    assert is_awaited(IMAGE, faults, said) is awaited


def test_the_registrys_own_error_comes_first():
    said = {("docker.io", str(IMAGE)): "404 manifest unknown", ("docker.io", OWN): "500 no"}
    tag = Fault(part="tag", digest="", size=0, problem=MISSING)
    assert reasons(IMAGE, [tag], said) == ("404 manifest unknown",)
    del said["docker.io", str(IMAGE)]
    assert reasons(IMAGE, [fault(MISSING)], said) == ("500 no",)


def test_without_an_error_of_the_registry_the_fault_is_reported_once():
    assert reasons(IMAGE, [fault(MISSING), fault(MISSING)], {}) == (
        f"layer {OWN}: delivered, but not stored; the cache's log says why",
    )
    assert reasons(IMAGE, [fault(WRONG_SIZE)], {}) == (f"layer {OWN}: wrong size; run repair",)


def test_a_file_that_is_gone_is_reported_whatever_the_registrys_error():
    said = {(IMAGE.host, OWN): "peer closed connection", (IMAGE.host, str(IMAGE)): "500 no"}
    lost = fault(MISSING)
    (why,) = reasons(IMAGE, [lost], said, {(IMAGE.host, OWN)})
    assert why.startswith(f"layer {OWN}: its file is gone")
    manifest = replace(lost, part="manifest")
    assert reasons(IMAGE, [manifest], said, {(IMAGE.host, OWN)}) == ("500 no",)
