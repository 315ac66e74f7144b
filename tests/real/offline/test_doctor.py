"""`doctor` on real caches that are stopped, gone, silent, crashing; left behind; without upstream.

What it finds in live nodes is in tests/real/talos/test_dead_cache.py; here are the networks that
they ask from. Every fix that is a command is run as it was told.
"""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import threading

import pytest

from demo.client import pull
from ops.docker import temporary_container
from ops.docker.api import labels_of
from ops.errors import OpsError
from ops.registry import endpoints
from ops.registry.ping import wait_for_answer
from plan.diagnosis import ANSWERS
from plan.settings.keys import DEFAULTS
from tests.real.caches.conftest import IMAGES, PREFIX, WORKER, embedded

STACK = "doctor"
NAME = f"{PREFIX}-doctor"
BASE_PORT = 15180
HOSTS = ("docker.io", "registry.k8s.io", "ghcr.io")
DOCKER_IO = f"{NAME}-docker.io"
GHCR = f"{NAME}-ghcr.io"
IMAGE = str(DEFAULTS["cache.image"])


@pytest.fixture(scope="module")
def up(checkout, embedded_upstream):
    write(checkout, embedded_upstream)
    checkout.make("up", STACK)
    for image in IMAGES:
        pull(f"http://127.0.0.1:{port(image.host)}", image, by_digest=False)
    checkout.shell = checkout.shell_env(STACK)
    return checkout


def port(host):
    return BASE_PORT + {"docker.io": 0, "registry.k8s.io": 1, "ghcr.io": 4}[host]


def write(checkout, upstream, hosts=HOSTS):
    upstreams = embedded(upstream, hosts)
    checkout.write_stack(STACK, prefix=NAME, basePort=BASE_PORT, upstreams=upstreams)


def doctor(up, *arguments, status, env=None):
    done = up.ops("doctor", STACK, *arguments, env={**up.shell, **(env or {})})
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def findings(up, *, status):
    report = json.loads(doctor(up, "--json", status=status))
    assert report["healthy"] is (status == 0)
    return report["findings"]


def only(found, state):
    return [(one["about"], one["text"]) for one in found if one["state"] == state]


def problem(up):
    """The only problem that there is: its text and its fix."""
    [one] = [one for one in findings(up, status=1) if one["state"] == "problem"]
    assert one["about"] == "cache of docker.io"
    return one["text"], one["fix"]


def mend(up, fix):
    """Run what the doctor said; all is well then."""
    up.run(*shlex.split(fix))
    assert wait_for_answer(f"http://127.0.0.1:{BASE_PORT}", 30) is None
    assert only(findings(up, status=0), "problem") == []


def test_a_stack_that_is_well(up, embedded_upstream):
    before = {name: started(up, name) for name in up.containers(STACK)}
    found = findings(up, status=0)
    assert only(found, "warning") == []
    assert [one["about"] for one in found] == [
        "Docker",
        *("cache of docker.io", "cache of ghcr.io", "cache of registry.k8s.io"),
    ]
    assert f"answers at http://127.0.0.1:{BASE_PORT}, contains" in found[1]["text"]
    assert "contains 0.0 MB" not in found[1]["text"]
    assert found[1]["text"].endswith(f"its upstream {embedded_upstream.url} answers")
    printed = doctor(up, status=0)
    assert printed.splitlines()[-1] == "4 ok, 0 warnings, 0 problems"
    assert {name: started(up, name) for name in up.containers(STACK)} == before


def started(up, name):
    return up.client.api.inspect_container(name)["State"]["StartedAt"]


def test_a_stopped_cache_is_back_with_what_is_told(up):
    up.client.api.stop(DOCKER_IO, timeout=1)
    text, fix = problem(up)
    assert text.startswith(f"{DOCKER_IO} is not running: exited, exit status")
    mend(up, fix)


def registry_of(up):
    """The registry's process, which is not the container's first."""
    rows = up.client.api.top(DOCKER_IO, ps_args="-eo pid,args")["Processes"]
    (process,) = (int(pid) for pid, args in rows if args.startswith("registry serve"))
    return process


def test_a_cache_that_does_not_answer_is_back_with_what_is_told(up):
    process = registry_of(up)
    os.kill(process, signal.SIGSTOP)
    text, fix = problem(up)
    assert text == f"it is running, but at http://127.0.0.1:{BASE_PORT} nothing answers within 3 s"
    # A process that is stopped hears of its end only then.
    threading.Timer(1, os.kill, (process, signal.SIGCONT)).start()
    mend(up, fix)


def test_a_paused_cache_is_back_with_what_is_told(up):
    up.client.api.pause(DOCKER_IO)
    text, fix = problem(up)
    assert text == f"{DOCKER_IO} is paused"
    mend(up, fix)


def test_a_cache_that_has_ended_by_itself_is_a_warning(up):
    # The container ends with it.
    os.kill(registry_of(up), signal.SIGKILL)
    assert wait_for_answer(f"http://127.0.0.1:{BASE_PORT}", 20) is None
    [(about, text)] = only(findings(up, status=0), "warning")
    assert about == "cache of docker.io"
    assert text == "it has exited unexpectedly once, and was restarted"
    up.client.api.restart(DOCKER_IO, timeout=1)


def test_a_cache_that_ends_again_and_again(up):
    before = up.client.containers.get(DOCKER_IO).id
    up.client.api.remove_container(DOCKER_IO, force=True)
    crashing = up.client.containers.run(
        IMAGE,
        name=DOCKER_IO,
        entrypoint=["sh", "-c", "exit 3"],
        labels=labels_of(STACK),
        restart_policy={"Name": "always"},
        detach=True,
    )
    # As if this very stack had made it so: a state knows its containers by their ids.
    (state,) = (up.path / ".work" / "state").rglob(f"{STACK}.json")
    state.write_text(state.read_text().replace(before, crashing.id))
    try:
        text, fix = problem(up)
        # It may be looked at in the moment in which it runs.
        assert re.fullmatch(
            f"{DOCKER_IO} keeps exiting \\(restarted [0-9]+ times(, exit status 3)?\\)", text
        )
        assert fix == f"docker logs --tail 20 {DOCKER_IO}"
    finally:
        crashing.remove(force=True, v=True)
    text, fix = problem(up)
    assert text.startswith(f"its container {DOCKER_IO} is missing; its volume is there, with ")
    mend(up, fix)


def test_an_upstream_that_is_away_is_a_warning(up, embedded_upstream):
    embedded_upstream.stop()
    try:
        warnings = only(findings(up, status=0), "warning")
    finally:
        embedded_upstream.plug_in()
    assert {about for about, _ in warnings} == {f"cache of {host}" for host in HOSTS}
    assert all(
        "(Connection refused)): it serves only what is cached" in text for _, text in warnings
    )


def test_what_the_stack_file_has_no_more_is_named_with_its_size(up, embedded_upstream):
    write(up, embedded_upstream, ("docker.io", "registry.k8s.io"))
    try:
        [(about, text)] = only(findings(up, status=0), "warning")
        assert about == f"container {GHCR}"
        assert text.endswith("no longer in the stack file")
        up.client.api.remove_container(GHCR, force=True)
        [(about, text)] = only(findings(up, status=0), "warning")
        assert about == f"volume {GHCR}"
        assert re.match(r"no cache uses it; it contains 0\.[1-9] MB, .*ghcr\.io", text)
    finally:
        write(up, embedded_upstream)
        up.make("up", STACK)


def test_volumes_of_another_stack_whose_prefix_starts_like_this_one_are_its_own(
    up, embedded_upstream
):
    name = f"{NAME}-two-docker.io"
    up.client.volumes.create(name, labels={"talos-cache.project": "talos-cache"})
    assert [about for about, _ in only(findings(up, status=0), "warning")] == [f"volume {name}"]
    other = up.path / "stacks" / "Pulumi.other.yaml"
    try:
        other.write_text(f'config: {{"talos-cache:prefix": "{NAME}-two"}}')
        assert only(findings(up, status=0), "warning") == []
        other.write_text("config: [")
        told = only(findings(up, status=0), "warning")
        assert [about for about, _ in told] == ["stack file of other", f"volume {name}"]
    finally:
        other.unlink()
        up.client.volumes.get(name).remove()


def test_a_docker_that_does_not_answer_is_a_problem_and_no_crash(up, tmp_path):
    printed = doctor(up, status=1, env={"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    first, fix, last = printed.splitlines()
    where = f"unix://{tmp_path}/none.sock (from DOCKER_HOST)"
    assert first.startswith(f"problem  Docker: Docker does not answer at {where}: ")
    assert first.endswith("Neither caches nor nodes were checked.")
    assert fix == f"         fix: make up STACK={STACK}"
    assert last == "0 ok, 0 warnings, 1 problem"


@pytest.fixture(scope="module")
def server(docker_client):
    """A registry whose network is looked from and into; port 7000 drops packets.

    Its name server refuses at once: the machine's may be out of reach, and take its time.
    """
    container = docker_client.containers.run(
        IMAGE, name=f"{NAME}-{WORKER}-server", dns=["127.0.0.1"], detach=True
    )
    try:
        info = docker_client.api.inspect_container(container.id)
        argv = [
            "nsenter",
            "--net",
            "--target",
            str(info["State"]["Pid"]),
            "iptables",
            "-A",
            "INPUT",
        ]
        subprocess.run([*argv, "-p", "tcp", "--dport", "7000", "-j", "DROP"], check=True)
        yield container.id, info["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    finally:
        container.remove(force=True, v=True)


def test_a_containers_own_view(docker_client, server):
    container, address = server
    urls = {
        f"http://{address}:5000": None,
        "http://127.0.0.1:5000/v2/some/project": None,
        f"https://{address}:5000": None,
        f"http://{address}:6000": "nothing answers (Connection refused)",
        "http://nobody.invalid:5000": "nothing answers (bad address 'nobody.invalid')",
        f"http://{address}:7000": "nothing answers within 3 s",
        "http://127.0.0.1:5001": "nothing answers (Connection refused)",
        "not a url": "it is not an http or https URL",
    }
    seen = endpoints.seen_from_container(docker_client, IMAGE, container, urls)
    assert {url: answer.why_not for url, answer in seen.items()} == urls
    assert [url for url, answer in seen.items() if answer.silent] == [f"http://{address}:7000"]
    from_here = endpoints.seen_from_here([f"http://{address}:5000", f"http://{address}:7000"])
    assert list(from_here.values()) == [ANSWERS, endpoints.SILENT]


def test_a_server_that_takes_connections_and_says_nothing(docker_client, server):
    with socket.create_server(("172.17.0.1", 0)) as mute:
        url = f"http://172.17.0.1:{mute.getsockname()[1]}"
        seen = endpoints.seen_from_container(docker_client, IMAGE, server[0], [url])
    assert seen[url] == endpoints.SILENT


def test_a_container_that_is_gone_or_can_not_be_joined_is_an_error(
    docker_client, server, monkeypatch
):
    monkeypatch.setattr(
        temporary_container, "LABEL", f"{NAME}-passing"
    )  # tests beside this have some, too
    with pytest.raises(OpsError, match=r"can't create a container|failed"):
        endpoints.seen_from_container(docker_client, IMAGE, "nowhere", ["http://127.0.0.1:1"])
    with pytest.raises(OpsError, match=r"can't create a container.*nothing-like-it"):
        endpoints.seen_from_container(
            docker_client, f"{PREFIX}/nothing-like-it:1", server[0], ["http://127.0.0.1:1"]
        )
    assert not docker_client.api.containers(all=True, filters={"label": temporary_container.LABEL})
