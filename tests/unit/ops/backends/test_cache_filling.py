"""Caches are filled, in cases that a real registry can't be made to show.

What is seen through a real cache of a fake upstream is part of it; tests/real/offline has the rest.
"""

import time
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from itertools import product

import pytest

from ops import priming
from ops.backends import cache_filling
from ops.docker.volumes import folder
from ops.halt import Halt
from ops.registry import fetch as fetching
from ops.registry import rounds
from ops.registry.fetch import FetchError
from plan import patience
from plan.caches.cache import Cache
from plan.images.reference import ImageReference, Platform
from plan.images.storage import EMPTY, Repository, Store, layer_link
from plan.images.warm import Wanted
from tests import ctrl_c
from tests.fakes import busy_upstream
from tests.fakes.programs import program
from tests.real_registry import running

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

    def place_links(self, root, links):
        if not links:
            return
        self.written += [(f"{root}/{path}", digest) for path, digest in links.items()]
        self.seen[0] = Store(
            blobs=self.seen[0].blobs,
            repositories=dict.fromkeys(["team/a", "team/b"], self.seen[0].repositories["team/a"]),
        )


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(cache_filling, "POLL_SECONDS", 0)


def run_of(cache=CACHE, volumes=None, **more):
    """A run that fills this cache, which was empty."""
    return cache_filling.Filling(
        caches={"docker.io": cache},
        volumes=volumes,
        stores={"docker.io": EMPTY},
        platform=Platform(os="linux", architecture="amd64"),
        parallel=1,
        **more,
    )


def wanted(*repositories):
    return Wanted(digest=BLOB, size=7, fetch=True, repositories=repositories)


def settled(*seen, **more):
    volumes = VolumesDouble(list(seen))
    blobs = {"docker.io": (wanted("team/a", "team/b"),)}
    doing = run_of(volumes=volumes, wanted=blobs, **more)
    (result,) = cache_filling.settled(doing, [IMAGE])
    return result, volumes


def test_a_blob_that_is_stored_late_is_linked_all_the_same():
    _, volumes = settled(EMPTY, EMPTY, holding(BLOB))
    assert volumes.written == [(f"{folder(CACHE)}/{layer_link('team/b', BLOB)}", BLOB)]


def test_what_is_never_stored_is_not_waited_for_forever(monkeypatch):
    monkeypatch.setattr(cache_filling, "SETTLE_SECONDS", 0.05)
    result, volumes = settled(EMPTY)
    assert result.faults
    assert volumes.written == []


def test_a_blob_whose_fetch_failed_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(cache_filling, "SETTLE_SECONDS", 3600)
    result, _ = settled(EMPTY, said={("docker.io", str(IMAGE)): "404 manifest unknown"})
    assert result.faults


@pytest.fixture
def busy():
    with busy_upstream.running() as upstream:
        yield upstream


@pytest.fixture
def cache(tmp_path, busy):
    """A real cache of it, anonymous as the product starts one."""
    nobody = """echo '{"ServerURL":"x","Username":"","Secret":""}'"""
    settings = {
        "REGISTRY_PROXY_REMOTEURL": busy.url,
        "REGISTRY_PROXY_EXEC_COMMAND": str(program(tmp_path, "anonymous", nobody)),
    }
    with running(tmp_path, **settings) as registry:
        yield replace(CACHE, local_endpoint=registry.url)


@pytest.fixture
def waits(monkeypatch):
    """Seconds of each wait; no test really waits."""
    seen = []
    monkeypatch.setattr(rounds, "_sleep", seen.append)
    return seen


def filled(cache, *images):
    """The errors of what could not be fetched."""
    doing = run_of(cache)
    cache_filling.fill(doing, images or [IMAGE])
    return doing.said


@pytest.fixture
def heals(busy, monkeypatch):
    """The upstream is healthy again after this many waits."""

    def after(count):
        seen = []

        def sleep(seconds):
            seen.append(seconds)
            if len(seen) == count:
                busy.refusing = ""

        monkeypatch.setattr(rounds, "_sleep", sleep)
        return seen

    return after


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("refusing", "method"),
    [("/v2/", ""), *product(("/manifests/", "/blobs/"), ("", "GET"))],
)
def test_a_busy_upstream_is_waited_for_and_then_all_of_it_comes(
    cache, busy, heals, capsys, status, refusing, method
):
    """Seen through a real cache, which hides most of it."""
    busy.status, busy.refusing, busy.method = status, refusing, method
    waited = heals(2)
    assert filled(cache) == {}
    assert waited == [2, 4] or (refusing, method) == ("/blobs/", "GET"), "an answer broken off"
    assert "trying again in 2 s" in capsys.readouterr().err


def test_a_rate_limit_in_another_format_is_waited_for(cache, busy, heals):
    """Gateways answer so."""
    busy.says = ("application/json", b'{"message": "API rate limit exceeded"}')
    busy.refusing = "/manifests/"
    waited = heals(1)
    assert filled(cache) == {}
    assert waited == [2]


@pytest.mark.parametrize(
    ("status", "refusing", "said", "waited"),
    [
        (429, "/v2/", "429", patience.TOTAL_SECONDS),
        (503, "/v2/", "503 Service Unavailable", patience.TOTAL_SECONDS),
        (401, "/team/", "401 authentication", 0),
        (403, "/team/", "403 requested", 0),
    ],
)
def test_what_the_cache_hides_of_a_refusal_is_reported(
    cache, busy, waits, status, refusing, said, waited
):
    busy.status, busy.refusing = status, refusing
    [why] = filled(cache).values()
    of_cache, _, of_upstream = why.partition("; its upstream: ")
    assert of_cache == f"{cache.local_endpoint}/v2/team/b/manifests/v1: 404 manifest unknown"
    assert said in of_upstream
    assert sum(waits) == waited


def test_while_an_upstream_is_busy_it_is_not_asked_for_the_next(cache, busy, waits, monkeypatch):
    monkeypatch.setattr(patience, "pause", lambda *_: None)
    busy.refusing = "/v2/"
    many = [replace(IMAGE, tag=f"v{number}") for number in range(20)]
    said = filled(cache, *many)
    assert len(said) == 20
    assert sum("not requested, because of " in why for why in said.values()) == 19
    asked = [path for _, path in busy.seen if path != "/v2/"]
    assert len(asked) == 3, "HEAD and GET of one tag, HEAD of a blob that does not exist"
    assert waits == []


@pytest.mark.parametrize(
    "lacks",
    [
        ("application/json", b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}'),
        ("application/json", b'{"errors": [{"code": "NOT_FOUND", "message": "artifact of it"}]}'),
        ("application/json", b'{"message": "not found"}'),
        ("text/html", b"<html>404 Not Found</html>"),
        ("text/plain", b""),
    ],
)
def test_an_image_that_does_not_exist_is_not_waited_for(cache, busy, waits, lacks):
    """The cache turns most of these answers into 500, by digest."""
    busy.lacks = lacks
    missing = replace(IMAGE, tag="v9")
    said = filled(cache, missing, IMAGE)
    assert list(said) == [("docker.io", str(missing))]
    assert said["docker.io", str(missing)].endswith("/v2/team/b/manifests/v9: 404 manifest unknown")
    assert waits == []


LIMIT = (
    b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "You have reached your unauthenticated '
    b'pull rate limit. https://www.docker.com/increase-rate-limit"}]}\n'
)


@pytest.mark.parametrize("method", ["GET", ""])
@pytest.mark.parametrize("hours", [True, False])
def test_behind_a_limit_on_manifests_images_whose_manifests_came_are_fetched(
    cache, busy, waits, method, hours
):
    """As on Docker Hub, which does not count blobs."""
    busy.refusing, busy.method = "/limited/manifests/", method
    if hours:
        busy.says = ("application/json", LIMIT)
    limited = [replace(IMAGE, repository=f"{number}/limited") for number in range(5)]
    said = filled(cache, IMAGE, *limited)
    assert sorted(said) == [("docker.io", str(image)) for image in limited]
    blobs = {path for method, path in busy.seen if method == "GET" and "/blobs/" in path}
    assert len(blobs) == 2, "config and layer"
    if hours:
        assert waits == []
        assert "pull rate limit" in said["docker.io", str(limited[0])]


CONFIG = busy_upstream.digest_of(busy_upstream.CONFIG)


@pytest.mark.parametrize(
    ("refusing", "method", "key"),
    [("/a/manifests/", "GET", "docker.io/team/a:v1"), (CONFIG, "", CONFIG)],
    ids=["manifest", "blob"],
)
def test_one_that_is_refused_for_good_keeps_no_other_from_coming(
    cache, busy, waits, refusing, method, key
):
    busy.refusing, busy.method, busy.status = refusing, method, 503
    many = [replace(IMAGE, repository=f"team/{name}") for name in "abcdefgh"]
    [(refused, why)] = filled(cache, *many).items()
    assert refused == ("docker.io", key)
    assert "503 Service Unavailable" in why
    assert sum(waits) == patience.TOTAL_SECONDS


class Bar:
    """A double of a progress bar."""

    def __init__(self):
        self.n = 0
        self.most = 0

    def update(self, count=1):
        self.n += count
        self.most = max(self.most, self.n)


def test_the_bar_counts_a_truncated_blob_once(monkeypatch):
    bar, pieces = Bar(), [[3, 2], [3, 4]]

    def blob(registry, repository, digest, tell):
        for size in pieces[0]:
            tell(size)
        if len(pieces) == 2:
            del pieces[0]
            raise FetchError("peer closed connection", is_broken_off=True)

    monkeypatch.setattr(fetching, "blob", blob)
    with pytest.raises(FetchError):
        cache_filling._blob(run_of(), "docker.io", wanted("team/b"), bar)
    cache_filling._blob(run_of(), "docker.io", wanted("team/b"), bar)
    assert (bar.n, bar.most) == (7, 7)


def test_ctrl_c_ends_what_is_on_its_way_and_nothing_more_is_asked_for(monkeypatch):
    asked, ended = [], []

    def blob(registry, repository, digest, tell):
        asked.append(digest)
        ctrl_c.press()
        deadline = time.monotonic() + 60
        try:
            while time.monotonic() < deadline:
                tell(1)
                time.sleep(0.01)
            ended.append("in vain")
        except CancelledError:
            ended.append(digest)
            raise

    monkeypatch.setattr(fetching, "blob", blob)
    doing = run_of()
    items = [(("docker.io", str(number)), wanted("team/b")) for number in range(3)]

    def work(one):
        cache_filling._blob(doing, "docker.io", one, Bar())

    with ctrl_c.raising(), pytest.raises(KeyboardInterrupt):
        rounds.in_parallel(doing, "blobs", items, work)
    while not ended:  # a thread that had just been started is not waited for
        time.sleep(0.01)
    assert asked == ended == [BLOB]


@pytest.mark.parametrize(
    "ask",
    [
        lambda upstream: fetching.manifest(upstream, "team/b", "v1"),
        lambda upstream: fetching.head(upstream, "team/b", "v1"),
        lambda upstream: fetching.begin(upstream, f"team/b/blobs/{BLOB}"),
        lambda upstream: priming.prime(upstream, "team/b", BLOB, 7, Halt()),
    ],
)
def test_a_registrys_retry_after_is_kept(busy, ask):
    busy.refusing = "/v2/"
    with pytest.raises(FetchError) as caught:
        ask(fetching.source(f"{busy.url}/v2"))
    assert (caught.value.status, caught.value.retry_after) == (429, "7")
    assert caught.value.is_temporary


@pytest.fixture
def fetch(monkeypatch):
    """Fetches a blob from a cache that refuses it until its upstream was made to fetch it."""
    primed = []

    def blob(*_):
        if not primed:
            raise FetchError("it is not there", status=fetch.status)

    def fetch(below):
        bar = cache_filling.tqdm(disable=True)
        cache_filling._blob(run_of(below=below), "docker.io", wanted("team/b"), bar)

    monkeypatch.setattr(fetching, "blob", blob)
    monkeypatch.setattr(priming, "prime", lambda *asked: primed.append(asked[:4]))
    fetch.primed, fetch.status = primed, 404
    return fetch


def test_an_upstream_that_must_fetch_first_is_made_to(fetch):
    fetch({"docker.io": "a Harbor"})
    assert fetch.primed == [("a Harbor", "team/b", BLOB, 7)]


def test_a_cache_s_error_is_reported_if_its_upstream_is_not_a_harbor(fetch, monkeypatch):
    def prime(*_):
        raise FetchError("it sends for a token elsewhere", status=503, retry_after="7")

    monkeypatch.setattr(priming, "prime", prime)
    with pytest.raises(FetchError) as caught:
        fetch({"docker.io": "an Artifactory"})
    assert str(caught.value) == "it is not there; it sends for a token elsewhere"
    assert (caught.value.status, caught.value.retry_after) == (503, "7")


@pytest.mark.parametrize(("below", "status"), [({}, 404), ({"docker.io": "a Harbor"}, 429)])
def test_no_other_refusal_has_an_upstream_asked(fetch, below, status):
    fetch.status = status
    with pytest.raises(FetchError):
        fetch(below)
    assert fetch.primed == []
