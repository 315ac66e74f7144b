"""`warm`: what it reports, and on what; tests/real/offline has it with real caches."""

import argparse
import json
from dataclasses import replace

import pytest

from ops.backends import backend, cache_report, caches
from ops.commands import arguments, warm
from ops.engine import cli
from ops.errors import OpsError
from ops.harbor.images import Filled
from ops.registry.upstreams_asked import Found
from ops.stack import stack_files
from plan.images.reference import ImageReference
from plan.problems import Problem, SettingsError

IMAGE = ImageReference(host="docker.io", repository="team/b", tag="v1")


def failed():
    return cache_report.Report(
        images=1,
        complete_before=0,
        upstream_bytes=0,
        unique_bytes=0,
        seconds=0,
        failures=(cache_report.Failure(image=IMAGE, why=("no",)),),
    )


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


def refused(*_):
    raise OpsError("no passphrase")


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


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda *_: ("docker.io: needs 2 pulls",), "docker.io: needs 2 pulls\n"),
        (lambda *_: (), ""),
        (refused, "could not check limits on pulls: no passphrase\n"),
    ],
    ids=["a limit", "none", "locked"],
)
def test_what_is_missing_is_compared_with_limits_before_it_is_fetched(
    monkeypatch, capsys, answer, said
):
    asked = []

    def forecast(*arguments):
        asked.append(arguments)
        return answer()

    monkeypatch.setattr(caches.upstreams_asked, "forecast", forecast)
    other = replace(IMAGE, host="quay.io")
    caches._tell_limits("mine", [IMAGE, other, replace(IMAGE, tag="v2")])
    assert asked == [("mine", {"docker.io": 2, "quay.io": 1})]
    assert capsys.readouterr().err == said


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
