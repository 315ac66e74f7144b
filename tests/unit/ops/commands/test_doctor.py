"""What `doctor` prints, and what it finds in caches and nodes; without Docker.

The talosctl here is a double: a script that prints a machine config. Real caches are in
tests/real/offline/test_doctor.py, real nodes in tests/real/talos/test_dead_cache.py.
"""

import argparse
import json

import pytest
import yaml
from msgspec.structs import replace

from host.private_files import write_private
from ops.cluster import talosctl
from ops.cluster.folder import clusters_beside, folder_of, owner_of, usual_identity
from ops.cluster.record import ClusterRecord
from ops.commands import doctor, doctor_caches, doctor_harbor, doctor_nodes
from ops.docker import api as docker_api
from ops.engine import cli
from ops.errors import OpsError
from ops.registry.upstreams_asked import Found
from ops.stack import secret_files, stack_files
from plan.caches.upstream_watchdog import TROUBLE_PATH
from plan.diagnosis import PROBLEM, WARNING, problem, warning, well
from plan.ownership import Owner, Recorded
from plan.problems import Problem, SettingsError
from plan.settings.stack import parse
from plan.talos.cluster import ClusterPlan
from plan.talos.mirrors import Mirror
from plan.talos.versions import Version
from tests.fakes.containers import container
from tests.fakes.programs import program
from tests.fakes.web_server import WELL, answering, free_port
from tests.unit.plan.shapes import planned

ALL_STATES = [
    problem("cache of docker.io", "it is gone", "make up STACK=mine"),
    well("Docker", "20.10 answers"),
    warning("cache of quay.io", "its upstream is away"),
]


@pytest.fixture
def reported(monkeypatch, capsys):
    """Gives exit status and output of the command for these findings."""

    def run(findings, *, as_json=False):
        monkeypatch.setattr(doctor, "examined", lambda stack, settings: list(findings))
        status = doctor.run(doctor.Arguments(stack="docker", as_json=as_json))
        return status, capsys.readouterr().out

    return run


def test_the_worst_comes_last_and_a_problem_says_what_to_do(reported):
    status, printed = reported(ALL_STATES)
    assert status == 1
    assert printed.splitlines() == [
        "ok       Docker: 20.10 answers",
        "warning  cache of quay.io: its upstream is away",
        "problem  cache of docker.io: it is gone",
        "         fix: make up STACK=mine",
        "1 ok, 1 warning, 1 problem",
    ]


def test_without_a_problem_the_status_is_0(reported):
    status, printed = reported(ALL_STATES[1:])
    assert (status, printed.splitlines()[-1]) == (0, "1 ok, 1 warning, 0 problems")


def test_the_report_as_json(reported):
    status, printed = reported(ALL_STATES, as_json=True)
    assert (status, json.loads(printed)["healthy"]) == (1, False)
    assert json.loads(printed)["findings"][-1] == {
        "state": "problem",
        "about": "cache of docker.io",
        "text": "it is gone",
        "fix": "make up STACK=mine",
    }
    assert json.loads(reported([], as_json=True)[1]) == {"healthy": True, "findings": []}


@pytest.fixture
def looked_at(monkeypatch):
    """Findings on a stack with one cache, and the state that they go by; all else is a double."""
    api = argparse.Namespace(api=None, version=lambda: {"Version": "27.1.0"})
    monkeypatch.setattr(docker_api, "connect", lambda: api)
    monkeypatch.setattr(docker_api, "bridge_gateway", lambda client: "172.17.0.1")
    seen = []

    def of_caches(client, stack, settings, plans, first, answers, unwell, upstreams, state):
        seen.append(state)
        return [well("cache of docker.io", "looked at")]

    monkeypatch.setattr(doctor, "inspected", lambda client, plans: {})
    monkeypatch.setattr(doctor, "answers_of", lambda *_: {})
    monkeypatch.setattr(doctor, "of_caches", of_caches)

    def run(*containers, **config):
        monkeypatch.setattr(docker_api, "containers", lambda client: containers)
        settings = parse({"upstreams": {"docker.io": {}}, **config})
        return doctor.examined("mine", settings), seen[-1]

    return run


def test_a_state_that_was_cut_off_is_a_problem_and_all_else_is_looked_at(
    looked_at, monkeypatch, tmp_path
):
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}")
    file = tmp_path / ".pulumi" / "stacks" / "talos-cache" / "mine.json"
    file.parent.mkdir(parents=True)
    file.touch()
    us = Owner(stack="mine", identity=usual_identity("mine"))
    others = Owner(stack="mine", identity="mine-0123456789ab")
    found, state = looked_at(container("1", "c1", us.labels), container("2", "c2", others.labels))
    unread = next(one for one in found if one.about == "state")
    assert unread.state == PROBLEM
    assert f"cp {file}.bak {file}" in unread.text
    assert "pulumi stack export" in unread.fix
    assert well("cache of docker.io", "looked at") in found
    assert state.containers == {"1"}, "by its labels"


def test_a_backend_that_is_away_is_a_problem_and_all_else_is_looked_at(looked_at, monkeypatch):
    def away(stack):
        raise OpsError("pulumi stack export failed: no route to host")

    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://bucket")
    monkeypatch.setattr(cli, "deployment", away)
    found, state = looked_at()
    [unread] = [one for one in found if one.state == PROBLEM]
    assert "no route to host" in unread.text
    assert well("cache of docker.io", "looked at") in found
    assert state == Recorded()


def test_harbor_is_checked_if_an_upstream_is_behind_it(looked_at, monkeypatch, tmp_path):
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}")
    refused = problem("Harbor", "it does not know harborLogin", "set it")
    monkeypatch.setattr(doctor_harbor, "examined", lambda stack, settings: [refused])
    behind = {"upstreams": {"docker.io": {"backend": "harbor"}}}
    found, _ = looked_at(**behind, harbor={"url": "https://harbor.example.com"})
    assert refused in found
    assert refused not in looked_at()[0]


@pytest.fixture
def live(tmp_path, monkeypatch):
    """A cluster of QEMU machines as its folder has it, and a talosctl double for its nodes."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    config = {"cluster": {"provisioner": "qemu", "name": "dev", "workers": 1}}
    plan = ClusterPlan(
        stack="mine",
        settings=parse(config).clusters[0],
        mirrors=(Mirror(host="docker.io", url=f"http://127.0.0.1:{free_port()}"),),
        sources=(),
    )
    folder = folder_of("mine", "dev")

    def look(script="exit 1", noted=None):
        path = program(tmp_path, "talosctl", script)
        if noted is not None:
            folder.prepare(owner_of("mine"))
            folder.record(replace(noted, owner=owner_of("mine")))
        double = talosctl.Talosctl(program=str(path), version=Version(1, 13, 0))
        found = doctor_nodes.examined(None, plan, double, "registry:3.1.2")
        return [finding for of_node in found for finding in of_node]

    look.url = plan.mirrors[0].url
    look.folder = folder
    return look


MADE = ClusterRecord(node_version="v1.13.0")


def shows(*mirrors):
    """The talosctl of a node with these mirrors: (host, URL)."""
    documents = [{"machine": {"type": "worker"}}] + [
        {"kind": "RegistryMirrorConfig", "name": host, "endpoints": [{"url": url}]}
        for host, url in mirrors
    ]
    printed = yaml.safe_dump({"spec": yaml.safe_dump_all(documents)})
    return f"cat <<'END'\n{printed}END"


def test_a_cluster_that_is_not_up_is_no_problem_and_one_half_made_a_warning(live):
    [found] = live()
    assert (found.state, found.about) == ("ok", "cluster dev")
    assert "make cluster-up STACK=mine" in found.text
    [found] = live(noted=ClusterRecord())
    assert (found.state, found.fix) == ("warning", "make up STACK=mine")


def test_a_record_that_can_not_be_read_is_a_problem_and_no_crash(live):
    live(noted=MADE)
    live.folder.marker.write_text("cut sho")
    [of_cluster] = live()
    [left_over] = doctor_nodes.left_over("mine", [])
    assert of_cluster == left_over
    assert (of_cluster.state, of_cluster.about) == ("problem", "cluster dev")
    assert of_cluster.fix == f"Remove the cluster by hand, then the folder {live.folder.path}"


def test_nodes_that_do_not_answer_are_problems_and_no_crash(live, monkeypatch):
    found = live('echo "no route to host" >&2; exit 1', MADE)
    assert [one.about for one in found] == ["node 10.5.0.2 of dev", "node 10.5.0.3 of dev"]
    assert all(one.text.endswith(": no route to host") for one in found)
    assert {one.fix for one in found} == {
        "make cluster-down STACK=mine CLUSTER=dev && make cluster-up STACK=mine"
    }
    monkeypatch.setattr(doctor_nodes, "NODE_SECONDS", 0.2)
    assert live("sleep 5", MADE)[0].text.endswith("no answer within 0.2 s")


def test_a_dead_mirror_of_ours_and_one_of_another_owner(live):
    foreign = f"http://127.0.0.1:{free_port()}"
    before = f"http://127.0.0.1:{free_port()}"
    noted = replace(MADE, mirrors={"quay.io": before}, attempts=({"docker.io": live.url},))
    script = shows(("docker.io", live.url), ("quay.io", before), ("ghcr.io", foreign))
    found = [one for one in live(script, noted) if one.about == "node 10.5.0.2 of dev"]
    assert [one.state for one in found] == ["problem"] * 3
    assert all("seen from this machine" in one.text for one in found)
    assert [one.fix for one in found[:2]] == ["make up STACK=mine"] * 2
    assert f"--talosconfig {live.folder.talosconfig} --nodes 10.5.0.2" in found[2].fix
    assert '"name": "ghcr.io", "$patch": "delete"' in found[2].fix


def test_a_node_whose_mirrors_answer_is_well(live):
    with answering(WELL) as server:
        found = live(shows(("docker.io", server.url)), MADE)
    assert [one.text for one in found] == ["1 mirror, every endpoint answers"] * 2


def test_a_cluster_that_left_the_stack_file_is_named_and_no_other_file_beside_it(live):
    beside = live.folder.path.parent
    live(noted=MADE)
    write_private(beside / secret_files.ROBOT, "Robot5ecret")
    (beside / secret_files.CERTIFICATES).mkdir()
    [found] = doctor_nodes.left_over("mine", [])
    assert (found.about, found.fix) == ("cluster dev", "make up STACK=mine")
    assert clusters_beside(beside) == ["dev"], "QEMU's networks are looked up for these"
    assert doctor_nodes.left_over("another", []) == []
    live.folder.remove()
    assert doctor_nodes.left_over("mine", []) == []


def test_a_stack_with_a_cluster_needs_a_supported_talosctl(monkeypatch, tmp_path):
    settings = stack_files.check("docker-cluster")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    first, second = doctor.examined("docker-cluster", settings)
    assert (first.about, first.fix) == ("talosctl", "make up STACK=docker-cluster")
    assert "nodes were not checked" in first.text
    assert second.about == "Docker"
    program(tmp_path, "talosctl", "echo v1.9.0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    refused = doctor.examined("docker-cluster", settings)[0]
    assert refused.text.startswith("cluster.talosctlVersion: talosctl v1.9.0, but ")
    assert refused.state == "problem"


@pytest.fixture
def unwell(monkeypatch):
    """The sentences on a cache, and findings; by what upstreams and watchdogs say."""

    def run(*, reasons, said=b"", running=True, offline=False, **more):
        asked = []

        def told(stack, hosts):
            asked.append((stack, hosts))
            return Found(sick=reasons(stack) if callable(reasons) else reasons, **more)

        def watchdog(client, container, argv):
            assert argv[-1] == TROUBLE_PATH
            return "run", iter([(1, said), (2, b"cat: no such file")])

        monkeypatch.setattr(doctor_caches.upstreams_asked, "found", told)
        monkeypatch.setattr(docker_api, "execute", watchdog)
        plans = planned({"offline": offline, "upstreams": {"docker.io": {}}}).caches
        containers = {plan.name: {"State": {"Running": running}} for plan in plans}
        found, upstreams, findings = doctor_caches.unwell_of(None, "mine", plans, containers)
        assert upstreams.cut_off == more.get("cut_off", {})
        return found.get("registry-docker.io"), findings, asked

    return run


def test_what_an_upstream_says_is_reported_of_its_cache(unwell):
    (sentence,), findings, asked = unwell(reasons={"docker.io": "nothing can be pulled"})
    assert sentence.endswith(": nothing can be pulled")
    assert (findings, asked) == ([], [("mine", ["docker.io"])])


def test_what_the_watchdog_has_noticed_is_reported(unwell):
    (sentence,), _, _ = unwell(reasons={}, said=b"its upstream wants a user name\n")
    assert sentence.startswith("its upstream wants a user name: ")
    assert unwell(reasons={})[0] == ()


@pytest.mark.parametrize("without", [{"running": False}, {"offline": True}])
def test_a_cache_that_asks_no_upstream_is_left_alone(unwell, without):
    assert unwell(reasons={}, said=b"something", **without) == (None, [], [])


def test_caches_that_get_nothing_are_reported_apart(unwell):
    assert unwell(reasons={}, cut_off={"docker.io": "401 no"})[0] == ()


def test_a_login_of_the_caches_that_can_not_be_read_is_reported(unwell, monkeypatch):
    monkeypatch.setattr("ops.passphrase.advice", lambda stack: f"bring back that of {stack}")
    _, (finding,), _ = unwell(reasons={}, unasked="incorrect\npassphrase")
    assert (finding.state, finding.about) == (WARNING, "caches")
    assert "cacheLogin" in finding.text
    assert finding.text.endswith(": incorrect passphrase")
    assert finding.fix == "bring back that of mine"


EMPTY = Problem(path="credentials", found="nothing", rule="text that is not empty", fix="set it")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OpsError("incorrect passphrase"), "incorrect passphrase"),
        (SettingsError((EMPTY,)), "rule: text that is not empty fix: set it"),
    ],
)
def test_without_credentials_upstreams_are_not_checked(unwell, monkeypatch, error, said):
    def fail(stack):
        raise error

    monkeypatch.setattr("ops.passphrase.advice", lambda stack: f"bring back that of {stack}")
    found, (finding,), _ = unwell(reasons=fail)
    assert found == ()
    assert (finding.state, finding.about) == (WARNING, "upstreams")
    assert said in finding.text
    assert finding.fix == "bring back that of mine"
