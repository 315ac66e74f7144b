"""`warm` in cases that a real registry can't be made to show; tests/real/offline has that."""

import argparse
import json
import time
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace

import pytest

from ops import priming
from ops.backends import backend, cache_filling, cache_report, caches
from ops.commands import arguments, warm
from ops.docker.volumes import folder
from ops.engine import cli
from ops.errors import OpsError
from ops.halt import Halt
from ops.harbor.images import Filled
from ops.registry import fetch as fetching
from ops.registry import rounds
from ops.registry.fetch import FetchError
from ops.registry.upstreams_asked import Found
from ops.stack import stack_files
from plan import patience
from plan.caches.cache import Cache
from plan.images.reference import ImageReference, Platform
from plan.images.storage import EMPTY, Repository, Store, layer_link
from plan.images.warm import Wanted
from plan.problems import Problem, SettingsError
from tests import ctrl_c
from tests.fakes import busy_upstream
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
    monkeypatch.setattr(cache_filling, "SETTLE_SECONDS", 0.05)


def settled(*seen, said=()):
    volumes = VolumesDouble(list(seen))
    doing = cache_filling.Filling(
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
    (result,) = cache_filling.settled(doing, [IMAGE])
    return result, volumes


def test_a_blob_that_is_stored_late_is_linked_all_the_same():
    _, volumes = settled(EMPTY, EMPTY, holding(BLOB))
    assert volumes.written == [(f"{folder(CACHE)}/{layer_link('team/b', BLOB)}", BLOB)]


def test_what_is_never_stored_is_not_waited_for_forever():
    result, volumes = settled(EMPTY)
    assert result.faults
    assert volumes.written == []


def test_a_blob_whose_fetch_failed_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(cache_filling, "SETTLE_SECONDS", 3600)
    result, _ = settled(EMPTY, said={("docker.io", str(IMAGE)): "404 manifest unknown"}.items())
    assert result.faults


@pytest.fixture
def busy():
    with busy_upstream.running() as upstream:
        yield upstream


@pytest.fixture
def cache(tmp_path, busy):
    """A real cache of it, anonymous as the product starts one."""
    helper = tmp_path / "anonymous"
    helper.write_text('#!/bin/sh\necho \'{"ServerURL":"x","Username":"","Secret":""}\'\n')
    helper.chmod(0o755)
    settings = {
        "REGISTRY_PROXY_REMOTEURL": busy.url,
        "REGISTRY_PROXY_EXEC_COMMAND": str(helper),
    }
    with running(tmp_path, **settings) as registry:
        yield replace(CACHE, local_endpoint=registry.url)


@pytest.fixture
def waits(monkeypatch):
    """Seconds of each wait; no test really waits."""
    seen = []
    monkeypatch.setattr(rounds, "_sleep", seen.append)
    return seen


def run_of(cache):
    return cache_filling.Filling(
        caches={"docker.io": cache},
        volumes=None,
        stores={"docker.io": EMPTY},
        platform=Platform(os="linux", architecture="amd64"),
        parallel=1,
    )


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
    [
        ("/v2/", ""),
        ("/manifests/", ""),
        ("/manifests/", "GET"),
        ("/blobs/", ""),
        ("/blobs/", "GET"),
    ],
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


@pytest.mark.parametrize(("status", "said"), [(429, "429"), (503, "503 Service Unavailable")])
def test_an_upstream_that_stays_busy_is_given_up_and_reported(cache, busy, waits, status, said):
    busy.status, busy.refusing = status, "/v2/"
    [(_, why)] = filled(cache).items()
    assert sum(waits) == patience.TOTAL_SECONDS
    assert (
        f"{cache.local_endpoint}/v2/team/b/manifests/v1: 404 manifest unknown; its upstream: "
        in why
    )
    assert said in why


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


@pytest.mark.parametrize(("status", "said"), [(401, "401 authentication"), (403, "403 requested")])
def test_what_the_cache_hides_of_a_refusal_is_reported(cache, busy, waits, status, said):
    busy.status, busy.refusing = status, "/team/"
    [why] = filled(cache).values()
    assert f"404 manifest unknown; its upstream: {said}" in why
    assert waits == []


def refusing(*errors):
    """Work that fails with each of these, and then gives its item."""
    left = list(errors)

    def work(item):
        if left:
            raise left.pop(0)
        return item

    return work


def test_an_upstream_is_waited_for_as_long_as_it_asks(waits, capsys):
    doing = run_of(CACHE)
    error = FetchError("429 slow down", status=429, retry_after="70")
    items = [(("docker.io", "a"), "a"), (("docker.io", "b"), "b")]
    assert rounds.in_parallel(doing, "blobs", items, refusing(error)) == ["a", "b"]
    assert (waits, doing.said) == ([70], {})
    assert "docker.io is busy (429 slow down): trying again in 70 s" in capsys.readouterr().err


def test_all_waits_together_are_limited(waits):
    error = FetchError("429 slow down", status=429, retry_after="70")
    items = [(("docker.io", "a"), "a")]
    assert rounds.in_parallel(run_of(CACHE), "blobs", items, refusing(*[error] * 9)) == [None]
    assert waits == [70] * 4


def test_one_that_asks_for_too_much_is_given_up_and_the_others_are_not(waits, capsys):
    doing = run_of(CACHE)
    errors = {
        "docker.io": FetchError("429", status=429, retry_after="3600"),
        "quay.io": FetchError("503", status=503),
    }

    def work(host):
        if error := errors.get(host):
            if host == "quay.io":
                del errors[host]
            raise error
        return host

    items = [((host, "a"), host) for host in ("docker.io", "quay.io")]
    assert rounds.in_parallel(doing, "blobs", items, work) == [None, "quay.io"]
    assert (waits, doing.said) == ([2], {("docker.io", "a"): "429"})
    assert "docker.io is busy and asks to wait 3600 s: " in capsys.readouterr().err


def refuses(bad, status=503, **more):
    """Work that is done but for these items."""

    def work(item):
        if item in bad:
            raise FetchError(f"{status} busy", status=status, **more)
        return item

    return work


def numbered(count):
    return [(("docker.io", str(number)), number) for number in range(count)]


@pytest.mark.parametrize("parallel", [1, 4])
@pytest.mark.parametrize(
    "bad", [{0}, {199}, {0, 1, 2}, {100, 101}, set(range(0, 200, 10)), set(range(0, 200, 2))]
)
def test_what_is_refused_for_good_keeps_nothing_else_from_coming(waits, bad, parallel):
    doing = replace(run_of(CACHE), parallel=parallel)
    found = rounds.in_parallel(doing, "blobs", numbered(200), refuses(bad))
    assert found == [None if number in bad else number for number in range(200)]
    assert doing.said == {("docker.io", str(number)): "503 busy" for number in bad}
    assert sum(waits) <= patience.TOTAL_SECONDS


def test_where_one_asks_for_too_much_and_others_come_it_alone_is_given_up(waits, capsys):
    doing = run_of(CACHE)
    found = rounds.in_parallel(doing, "blobs", numbered(9), refuses({0, 5}, retry_after="3600"))
    assert found == [None, 1, 2, 3, 4, None, 6, 7, 8]
    assert waits == []
    assert "docker.io keeps refusing some of its blobs" in capsys.readouterr().err


def test_a_host_that_is_away_is_not_asked_for_one_thing_after_the_other(waits):
    asked = []

    def work(item):
        asked.append(item)
        raise FetchError("503 busy", status=503)

    assert rounds.in_parallel(run_of(CACHE), "blobs", numbered(200), work) == [None] * 200
    assert len(asked) <= 12
    assert sum(waits) == patience.TOTAL_SECONDS


def test_a_limit_that_lasts_for_hours_is_not_waited_for(waits, capsys):
    asked = []
    limit = "429 You have reached your unauthenticated pull rate limit."

    def work(item):
        asked.append(item)
        if item >= 30:
            raise FetchError(limit, status=429)
        return item

    doing = run_of(CACHE)
    found = rounds.in_parallel(doing, "images", numbered(40), work)
    assert found == [*range(30), *[None] * 10]
    assert (len(asked), waits) == (31, [])
    assert doing.said["docker.io", "39"] == f"not requested, because of {limit}"
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("docker.io delivers no more images for hours")
    assert 'credentials["docker.io"]' in line
    assert line.endswith(f"({limit})")


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


def test_one_manifest_that_is_refused_for_good_keeps_no_other_image_from_coming(cache, busy, waits):
    busy.refusing, busy.method, busy.status = "/a/manifests/", "GET", 503
    many = [replace(IMAGE, repository=f"team/{name}") for name in "abcdefgh"]
    [(key, why)] = filled(cache, *many).items()
    assert key == ("docker.io", str(many[0]))
    assert "503 Service Unavailable" in why
    assert sum(waits) == patience.TOTAL_SECONDS


def test_one_blob_that_is_refused_for_good_keeps_no_other_from_coming(cache, busy, waits):
    busy.refusing, busy.status = busy_upstream.digest_of(busy_upstream.CONFIG), 503
    [(key, why)] = filled(cache).items()
    assert key == ("docker.io", busy_upstream.digest_of(busy_upstream.CONFIG))
    assert "503 Service Unavailable" in why


def test_a_truncated_answer_is_fetched_again_twice(waits):
    doing = run_of(CACHE)
    broken = FetchError("peer closed connection", is_broken_off=True)
    items = [(("h", "a"), "a")]
    assert rounds.in_parallel(doing, "blobs", items, refusing(broken, broken)) == ["a"]
    assert rounds.in_parallel(doing, "blobs", items, refusing(*[broken] * 3)) == [None]
    assert doing.said == {("h", "a"): "peer closed connection"}
    assert waits == [2] * 4


def test_also_after_other_refusals_it_is_fetched_again_twice(waits):
    busy = FetchError("503", status=503)
    broken = FetchError("peer closed connection", is_broken_off=True)
    errors = [*[busy] * 5, broken, broken]
    assert rounds.in_parallel(run_of(CACHE), "blobs", [(("h", "a"), "a")], refusing(*errors)) == [
        "a"
    ]


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
    wanted = Wanted(digest=BLOB, size=7, fetch=True, repositories=("team/b",))
    with pytest.raises(FetchError):
        cache_filling._blob(run_of(CACHE), "docker.io", wanted, bar)
    cache_filling._blob(run_of(CACHE), "docker.io", wanted, bar)
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
    doing = replace(run_of(CACHE), parallel=1)
    wanted = Wanted(digest=BLOB, size=7, fetch=True, repositories=("team/b",))
    items = [(("docker.io", str(number)), wanted) for number in range(3)]
    with ctrl_c.raising(), pytest.raises(KeyboardInterrupt):
        rounds.in_parallel(
            doing, "blobs", items, lambda one: cache_filling._blob(doing, "docker.io", one, Bar())
        )
    while not ended:  # a thread that had just been started is not waited for
        time.sleep(0.01)
    assert asked == ended == [BLOB]


def test_a_report_says_how_to_continue_if_something_is_not_complete():
    assert failed().as_text().endswith(backend.GO_ON)
    assert backend.GO_ON not in replace(failed(), failures=()).as_text()
    behind_harbor = Filled(results=(), complete_before=0, transferred=0, seconds=1, said={})
    assert backend.GO_ON not in behind_harbor.as_text()
    assert backend.GO_ON in replace(behind_harbor, said={IMAGE: "429"}).as_text()


@pytest.mark.parametrize(
    ("changes", "is_whole"),
    [
        ({"complete_before": 1, "failures": ()}, True),
        ({"failures": ()}, False),
        ({}, False),
    ],
    ids=["whole", "fetched", "failed"],
)
def test_nothing_was_missing_only_if_all_was_complete_before(changes, is_whole):
    report = replace(failed(), upstream_bytes=0, unique_bytes=0, **changes)
    shown = report.as_text()
    assert ("nothing was missing" in shown) == is_whole
    assert "from upstream: 0.0 MB, unique: 0.0 MB" in shown


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


class Priming:
    """A cache that refuses a blob until its upstream has been made to fetch it."""

    def __init__(self, monkeypatch, status=404):
        self.primed = []
        self.status = status
        monkeypatch.setattr(fetching, "blob", self._blob)
        monkeypatch.setattr(
            cache_filling.priming, "prime", lambda *asked: self.primed.append(asked[:4])
        )

    def _blob(self, registry, repository, digest, progress):
        if not self.primed:
            raise FetchError("it is not there", status=self.status)


def fetch(below):
    wanted = Wanted(digest=BLOB, size=7, fetch=True, repositories=("team/b",))
    doing = cache_filling.Filling(
        caches={"docker.io": CACHE},
        volumes=VolumesDouble([EMPTY]),
        stores={"docker.io": EMPTY},
        platform=Platform(os="linux", architecture="amd64"),
        parallel=1,
        below=below,
    )
    cache_filling._blob(doing, "docker.io", wanted, cache_filling.tqdm(disable=True))


def test_an_upstream_that_must_fetch_first_is_made_to(monkeypatch):
    cache = Priming(monkeypatch)
    fetch({"docker.io": "a Harbor"})
    assert cache.primed == [("a Harbor", "team/b", BLOB, 7)]


def test_a_cache_s_error_is_reported_if_its_upstream_is_not_a_harbor(monkeypatch):
    Priming(monkeypatch)

    def prime(*_):
        raise FetchError("it sends for a token elsewhere", status=503, retry_after="7")

    monkeypatch.setattr(cache_filling.priming, "prime", prime)
    with pytest.raises(FetchError) as caught:
        fetch({"docker.io": "an Artifactory"})
    assert str(caught.value) == "it is not there; it sends for a token elsewhere"
    assert (caught.value.status, caught.value.retry_after) == (503, "7")


@pytest.mark.parametrize(("below", "status"), [({}, 404), ({"docker.io": "a Harbor"}, 429)])
def test_no_other_refusal_has_an_upstream_asked(monkeypatch, below, status):
    cache = Priming(monkeypatch, status)
    with pytest.raises(FetchError):
        fetch(below)
    assert cache.primed == []


def failed():
    return cache_report.Report(
        images=1,
        complete_before=0,
        upstream_bytes=0,
        unique_bytes=0,
        seconds=0,
        failures=(cache_report.Failure(image=IMAGE, why=("no",)),),
    )


@pytest.fixture
def why(monkeypatch, tmp_path):
    """What is found about the upstream of the image that failed, if `asked` reports it."""
    file = tmp_path / "Pulumi.mine.yaml"
    file.write_text(json.dumps({"config": {"talos-cache:upstreams": {"docker.io": {}}}}))
    monkeypatch.setattr(stack_files, "path_of", lambda _: file)
    settings = stack_files.check("mine")

    def find(asked, report):
        monkeypatch.setattr(caches.upstreams_asked, "found", asked)
        return caches._asked_why("mine", settings, report)

    return find


def test_the_upstreams_of_failed_images_are_checked(why):
    asked = []

    def found(stack, hosts, repositories):
        asked.append((stack, hosts, repositories))
        return Found(sick={"docker.io": "docker.io says 429"})

    sick = why(found, failed())
    assert asked == [("mine", ["docker.io"], {"docker.io": IMAGE.repository})]
    assert "docker.io says 429" in replace(failed(), found=sick).as_text().splitlines()
    assert backend.GO_ON in replace(failed(), found=sick).as_text()
    assert why(found, replace(failed(), failures=())) == Found()
    assert len(asked) == 1


def test_a_cache_that_gets_nothing_from_a_healthy_upstream_should_be_restarted(why):
    found = why(lambda *_: Found(cut_off={"docker.io": "401 no"}), failed())
    said = replace(failed(), found=found).as_text()
    assert "401 no; docker restart registry-docker.io, then run warm again" in said
    assert backend.GO_ON not in said
    other = cache_report.Failure(image=replace(IMAGE, host="quay.io"), why=("429",))
    both = replace(failed(), failures=(*failed().failures, other))
    assert backend.GO_ON in replace(both, found=found).as_text(), "for the other"
    (line,) = replace(failed(), found=found).as_json()["upstreams"].values()
    assert "docker restart" in line


NOTHING = Problem(path="credentials", found="nothing", rule="text that is not empty", fix="set it")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (warm.OpsError("no passphrase"), "no passphrase"),
        (SettingsError((NOTHING,)), "1 mistake in the stack's configuration"),
    ],
)
def test_the_report_is_printed_even_if_upstreams_can_not_be_checked(why, monkeypatch, error, said):
    def found(*_):
        raise error

    monkeypatch.setattr("ops.passphrase.advice", lambda stack: f"bring back that of {stack}")
    shown = replace(failed(), found=why(found, failed())).as_text()
    assert "bring back that of mine" in shown
    assert f"docker.io: could not check what is wrong: {said}" in shown
    assert "1 images: 0 complete before" in shown


HARBOR = {"url": "http://127.0.0.1:1"}  # nothing listens there


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the command for a stack with one cache here, which gets its image, and a Harbor."""
    monkeypatch.setattr("plan.loopback.is_loopback", lambda _: False)
    whole = replace(failed(), complete_before=1, failures=())
    monkeypatch.setattr(caches.api, "connect", lambda: None)
    monkeypatch.setattr(caches, "user_cache", lambda: tmp_path)
    monkeypatch.setattr(caches, "warm", lambda *_, **__: whole)

    def run(*options, **config):
        upstreams = {"docker.io": {}, "quay.io": {"backend": "harbor"}}
        config = {"upstreams": upstreams, "harbor": HARBOR, **config}
        named = {f"talos-cache:{key}": value for key, value in config.items()}
        file = tmp_path / "Pulumi.mine.yaml"
        file.write_text(json.dumps({"config": named}))
        monkeypatch.setattr(stack_files, "path_of", lambda _: file)
        images = tmp_path / "images"
        images.write_text("docker.io/team/b:v1\nquay.io/team/b:v1\n")
        parser = argparse.ArgumentParser()
        warm.add_arguments(parser)
        namespace = parser.parse_args(["--images", str(images), *options])
        namespace.stack = "mine"
        return warm.run(arguments.read(warm.Arguments, namespace))

    return run


def test_the_report_of_the_caches_is_printed_even_if_harbor_fails(run, capsys):
    with pytest.raises(OpsError, match=r"http://127\.0\.0\.1:1 "):
        run()
    assert "1 images: 1 complete before, 0 fetched, 0 failed" in capsys.readouterr().out
    with pytest.raises(OpsError):
        run("--json")
    report = json.loads(capsys.readouterr().out)
    assert (report["complete"], report["harbor"]["complete"]) == (True, False)
    assert "http://127.0.0.1:1 " in report["harbor"]["error"]


def test_secrets_are_decrypted_once_for_caches_and_upstreams(monkeypatch, run):
    """Each time costs a start of the engine."""
    asked, sources = [], []
    login = {"username": "me", "password": "hunter2"}

    def output(stack, *argv):
        asked.append(argv)
        opened = {"credentials": {"docker.io": login}, "harborLogin": login}
        return json.dumps(
            {f"talos-cache:{key}": {"value": json.dumps(opened[key])} for key in opened}
        )

    def warmed(*_, below, **__):
        sources.extend(below.values())
        assert not any(one.client.is_closed for one in sources)
        return replace(failed(), complete_before=1, failures=())

    monkeypatch.setattr(cli, "output", output)
    monkeypatch.setattr(caches, "warm", warmed)
    with pytest.raises(OpsError, match="does not answer"):
        run(
            upstreams={
                "docker.io": {"remoteUrl": "https://harbor.lan", "pathPrefix": "proxy-docker.io"},
                "quay.io": {"backend": "harbor"},
            },
            credentials={"secure": "v1:abc"},
            harborLogin={"secure": "v1:abc"},
        )
    assert len(asked) == 1
    assert [one.url for one in sources] == ["https://harbor.lan/v2/proxy-docker.io"]
    assert all(one.client.is_closed for one in sources)
