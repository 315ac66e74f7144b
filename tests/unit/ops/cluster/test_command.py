"""Creates that fail in the middle: what is reported, and that they end in time.

Docker here is a double that does what a test says and refuses all else; `talosctl` only prints its
version.
"""

import json
import threading
import time

import pytest
from docker.errors import APIError

from ops.cluster import command, node_image, preflight, talosctl
from ops.cluster.docker_provisioner import DockerProvisioner
from ops.cluster.folder import folder_of, owner_of
from ops.cluster.record import ClusterRecord
from ops.cluster.supervisor import StoppedError, Supervisor
from ops.errors import OpsError
from plan.settings.stack import parse
from plan.talos import cluster, cluster_transport
from plan.talos.versions import Version

IMAGE = "ghcr.io/siderolabs/talos:v1.13.0"
CACHES = {"ghcr.io": node_image.Source(url="http://127.0.0.1:5004")}


class Docker:
    """A double of docker's client, as far as a node image goes; records what it has to do."""

    def __init__(self, pull):
        self.api = self
        self.asked = []
        self.pull = pull

    def images(self, name):
        assert name == IMAGE
        return []

    def tag(self, *arguments):
        self.asked.append(("tag", *arguments))

    def remove_image(self, name, noprune):
        assert noprune, "layers stay for the image's usual name"
        self.asked.append(("remove", name))


def events(*given):
    return lambda *_, **__: iter(given)


def test_the_node_image_comes_through_its_cache_and_keeps_its_usual_name():
    client = Docker(events({"status": "Pulling"}, {"status": "done"}))
    node_image.ensure_image(client, IMAGE, CACHES, Supervisor())
    at_the_cache = "127.0.0.1:5004/siderolabs/talos:v1.13.0"
    assert client.asked == [
        ("tag", at_the_cache, "ghcr.io/siderolabs/talos", "v1.13.0"),
        ("remove", at_the_cache),
    ]


def refusing(*_, **__):
    raise APIError("500", explanation="no route to it")


@pytest.mark.parametrize(
    ("pull", "why"),
    [
        (events({"status": "Pulling"}, {"error": "manifest unknown"}), "manifest unknown"),
        (refusing, "no route to it"),
    ],
    ids=["in-an-event", "refused"],
)
def test_a_node_image_that_can_not_be_pulled_is_reported_with_the_cause(pull, why):
    client = Docker(pull)
    text = rf"{IMAGE} .*http://127\.0\.0\.1:5004.* {why}"
    with pytest.raises(OpsError, match=text):
        node_image.ensure_image(client, IMAGE, CACHES, Supervisor())
    assert client.asked == []


def test_a_pull_that_is_silent_is_stopped_when_the_time_is_up():
    over = threading.Event()

    def silent(*_, **__):
        over.wait(30)
        yield {"status": "at last"}

    started = time.monotonic()
    with pytest.raises(StoppedError, match="not done within 1s"):
        node_image.ensure_image(Docker(silent), IMAGE, CACHES, Supervisor(0.3, "1s"))
    assert time.monotonic() - started < 10
    over.set()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs `create` as the engine does, with other functions in the place of those it calls."""
    settings = parse({"cluster": {"name": "dev"}})
    plan = cluster.build("mine", settings.clusters, [], [], {})[0]
    for name, value in cluster_transport.environment(plan).items():
        monkeypatch.setenv(name, value)
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "PULUMI_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    found = talosctl.Talosctl(program="/nowhere", version=Version(1, 13, 0))
    monkeypatch.setattr(command.talosctl, "find", lambda: found)
    monkeypatch.setattr(DockerProvisioner, "conflicts", lambda *_, **__: [])
    secrets = tmp_path / "secrets"
    secrets.write_text(cluster_transport.secret_input(plan) + "\n")

    def create(created, removed):
        monkeypatch.setattr(command, "_created", created)
        monkeypatch.setattr(command, "_remove", removed)
        with secrets.open() as given:
            monkeypatch.setattr(command.sys, "stdin", given)
            return command.main("create")

    return create


def nothing(*_, **__):
    return None


def failing(error):
    def fail(*_):
        raise error

    return fail


def failing_later(error):
    """Removing works before the create, and fails after it."""
    calls = iter((nothing, failing(error)))
    return lambda *_, **__: next(calls)()


@pytest.mark.parametrize(
    "error",
    [OpsError("the cause"), APIError("the cause"), OSError(28, "the cause")],
    ids=lambda error: type(error).__name__,
)
def test_whatever_fails_is_in_the_last_line(run, capfd, error):
    assert run(failing(error), nothing) == 1
    out, err = capfd.readouterr()
    assert out == ""
    last = err.strip().splitlines()[-1]
    assert last.startswith("create of the cluster dev failed: ")
    assert "the cause" in last
    assert "Traceback" not in err


def test_a_failing_removal_is_reported_after_the_cause_and_not_instead_of_it(run, capfd):
    status = run(failing(OpsError("the cause")), failing_later(APIError("still in use")))
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert status == 1
    assert last.startswith("create of the cluster dev failed: the cause; ")
    assert last.endswith(": still in use")


def test_what_was_made_is_printed_as_json(run, capfd):
    record = ClusterRecord(owner="me", name="dev", logins="a digest")
    assert run(lambda *_: record, nothing) == 0
    printed = json.loads(capfd.readouterr().out)
    assert printed["name"] == "dev"
    assert not {"owner", "logins"} & set(printed), "nothing private"


def test_a_talosctl_that_is_not_a_program_is_a_preflight_error(tmp_path, monkeypatch):
    program = tmp_path / "talosctl"
    program.write_bytes(b"\x7fELF of another machine")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = parse({"cluster": {"name": "dev"}})
    [text] = preflight.preflight_errors(cluster.build("mine", settings.clusters, [], [], {}), ())
    assert f"{program} does not say its version" in text


def test_a_create_that_would_wait_for_a_cni_is_noted_before_it_begins(
    monkeypatch, capsys, tmp_path
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    found = talosctl.Talosctl(program="talosctl", version=Version(1, 12, 0))
    monkeypatch.setattr(talosctl, "find", lambda: found)
    monkeypatch.setattr(DockerProvisioner, "conflicts", lambda *_, **__: [])
    patch = {"cluster": {"network": {"cni": {"name": "none"}}}}
    settings = parse({"cluster": {"name": "dev", "patches": [patch]}})
    plans = cluster.build("mine", settings.clusters, [], [], {})
    assert preflight.preflight_errors(plans, ()) == [], "the user may install one meanwhile"
    assert "note: the cluster dev has no CNI" in capsys.readouterr().err
    folder_of("mine", "dev").prepare(owner_of("mine"))
    folder_of("mine", "dev").record(ClusterRecord(owner=owner_of("mine"), network="1234"))
    assert preflight.preflight_errors(plans, ()) == []
    assert capsys.readouterr().err == "", "it exists: nothing waits any more"
