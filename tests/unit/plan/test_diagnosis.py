"""The findings on a stack's caches and nodes, for everything that can be wrong with them."""

import json
import shlex
from dataclasses import replace

import pytest
import yaml

from plan.caches import addressing, cache_plan
from plan.diagnosis import (
    ANSWERS,
    OK,
    PROBLEM,
    WARNING,
    Answer,
    CacheFacts,
    ContainerFacts,
    NodeFacts,
    amount,
    endpoints,
    of_cache,
    of_harbor,
    of_lost_node,
    of_node,
)
from plan.settings.stack import parse
from plan.talos import mirrors
from plan.talos.mirror_updates import patches
from plan.talos.mirrors import Mirror, document, legacy_entry
from plan.talos.talosctl import Place
from plan.traffic.rate_limit import RateLimit

STACK = "mine"
UP = "make up STACK=mine"
SETTINGS = parse({"upstreams": {"docker.io": {}}})
[PLAN] = cache_plan.build(SETTINGS, addressing.resolve(SETTINGS, "172.17.0.1"))
PORTS = frozenset({("127.0.0.1", 5000), ("172.17.0.1", 5000)})
RUNNING = ContainerFacts(
    whose=None,
    status="running",
    exit_status=0,
    healthy=True,
    restarts=0,
    more_restarts=0,
    published=PORTS,
    volume="registry-docker.io",
)
SOUND = CacheFacts(container=RUNNING, has_volume=True, size=12_340_000, upstream=ANSWERS)
REFUSED = Answer(why_not="nothing answers (Connection refused)")
SILENT = Answer(why_not="nothing answers within 3 s", silent=True)


def cache(**changes):
    """The only finding on a cache that differs in this from a healthy one."""
    own = {key: value for key, value in changes.items() if key in CacheFacts.__dataclass_fields__}
    rest = {key: value for key, value in changes.items() if key not in own}
    [finding] = of_cache(PLAN, replace(SOUND, container=replace(RUNNING, **rest), **own), STACK)
    assert finding.about == "cache of docker.io"
    return finding


def test_a_healthy_cache_is_one_line_with_all_facts():
    finding = cache()
    assert (finding.state, finding.fix) == (OK, "")
    for fact in ("http://127.0.0.1:5000", "12.3 MB", "https://registry-1.docker.io answers"):
        assert fact in finding.text


def test_a_limit_on_pulls_is_told_and_a_warning_when_it_is_used_up():
    limit = RateLimit(limit=100, remaining=9, seconds=21600)
    finding = cache(limit=limit)
    assert (finding.state, finding.fix) == (OK, "")
    assert finding.text.endswith("answers; 9 of 100 pulls in 6 h are left")
    finding = cache(limit=replace(limit, remaining=0))
    assert finding.state == WARNING
    assert "0 of 100 pulls in 6 h are left: it serves only what is cached" in finding.text
    assert finding.fix.startswith("log in")


def test_an_offline_cache_says_so():
    assert "offline" in cache(upstream=None).text


def test_a_disk_that_is_almost_full_is_reported_before_a_layer_is_cut_off():
    finding = cache(room=999_999_999)
    assert finding.state == WARNING
    assert "1000.0 MB" in finding.text
    assert "unexpected EOF" in finding.text
    assert finding.fix.endswith("make prune STACK=mine ARGS='--to SIZE'")


@pytest.mark.parametrize(
    "facts",
    [{"room": 1_000_000_000}, {"room": None}, {"room": 0, "upstream": None}],
    ids=["enough", "not-known", "offline-writes-nothing"],
)
def test_enough_room_is_not_reported(facts):
    assert cache(**facts).state == OK


@pytest.mark.parametrize(("size", "kept"), [(2_000_000, True), (None, False)])
def test_a_cache_without_a_container(size, kept):
    facts = CacheFacts(container=None, has_volume=kept, size=size)
    [finding] = of_cache(PLAN, facts, STACK)
    assert (finding.state, finding.fix) == (PROBLEM, UP)
    assert "registry-docker.io is missing" in finding.text
    assert ("volume" in finding.text) == ("2.0 MB" in finding.text) == kept


UNHEALTHY = {
    "another's": (
        {"whose": "the stack 'docker' of the checkout /home/alice/cache"},
        "belongs to the stack 'docker' of the checkout /home/alice/cache",
        UP,
    ),
    "between-two-starts": (
        {"status": "restarting", "restarts": 7, "exit_status": 2},
        "(restarted 7 times, exit status 2)",
        "docker logs --tail 20 registry-docker.io",
    ),
    "restarted-meanwhile": (
        {"restarts": 8, "more_restarts": 1},
        "(restarted 8 times)",
        "docker logs --tail 20 registry-docker.io",
    ),
    "paused": (
        {"status": "paused"},
        "paused",
        "docker unpause registry-docker.io",
    ),
    "stopped": (
        {"status": "exited", "exit_status": 137},
        "exited, exit status 137",
        UP,
    ),
    "published-elsewhere": (
        {"published": frozenset({("127.0.0.1", 6000)})},
        "published on 127.0.0.1:6000 instead of 127.0.0.1:5000, 172.17.0.1:5000",
        UP,
    ),
    "not-published": (
        {"published": frozenset()},
        "published on no port",
        UP,
    ),
    "no-volume": (
        {"volume": ""},
        "no named volume",
        UP,
    ),
    "unhealthy": (
        {"healthy": False},
        "health check",
        "docker logs --tail 20 registry-docker.io",
    ),
    "no-answer": (
        {"answer": SILENT},
        "at http://127.0.0.1:5000 nothing answers within 3 s",
        "docker restart registry-docker.io",
    ),
}


@pytest.mark.parametrize(("changes", "text", "fix"), UNHEALTHY.values(), ids=UNHEALTHY)
def test_an_unhealthy_cache(changes, text, fix):
    finding = cache(**changes)
    assert finding.state == PROBLEM
    assert text in finding.text
    assert finding.fix.startswith(fix)


def test_everything_wrong_with_a_containers_configuration_is_reported():
    wrong = replace(RUNNING, published=frozenset(), volume="other", healthy=False)
    findings = of_cache(PLAN, replace(SOUND, container=wrong, answer=SILENT), STACK)
    assert [finding.fix for finding in findings] == [UP, UP], "the rest follows from that"
    assert "in the volume other" in findings[1].text


def test_an_upstream_that_answers_and_delivers_nothing_is_a_warning():
    findings = of_cache(PLAN, replace(SOUND, unwell=("it is limited", "it is deaf")), STACK)
    assert [(finding.state, finding.text) for finding in findings] == [
        (WARNING, "it is limited"),
        (WARNING, "it is deaf"),
    ]


def test_a_cache_that_gets_nothing_from_an_upstream_that_answers_is_a_problem():
    finding = cache(cut_off="401 no")
    assert finding.state == PROBLEM
    assert finding.text.endswith(": 401 no")
    assert finding.fix.startswith("docker restart registry-docker.io; ")
    assert cache(cut_off="401 no", unwell=("the watchdog knows",)).text == "the watchdog knows"


def test_an_upstream_that_does_not_answer_is_a_warning():
    finding = cache(upstream=REFUSED, unwell=("it could not be checked",))
    assert finding.state == WARNING
    assert f"https://registry-1.docker.io doesn't answer it ({REFUSED.why_not})" in finding.text


@pytest.mark.parametrize(("restarts", "times"), [(1, "once"), (3, "3 times")])
def test_a_cache_that_has_exited_is_a_warning(restarts, times):
    finding = cache(restarts=restarts)
    assert finding.state == WARNING
    assert f"exited unexpectedly {times}," in finding.text
    assert finding.fix == "docker logs --tail 20 registry-docker.io"


def test_an_unknown_size_is_not_zero():
    assert amount(0) == "0.0 MB"
    assert amount(None) == "an unknown amount of data"


OURS, BEFORE, FOREIGN, LAN = (
    "http://172.17.0.1:5000",
    "http://172.17.0.1:6000",
    "http://10.9.9.9:5000",
    "https://10.8.8.8",
)
PLACE = Place(program="talosctl", state="state", talosconfig="folder/talosconfig")
BOTH = pytest.mark.parametrize("documents", [True, False], ids=["documents", "legacy"])


def config(host, *urls, documents=True, skip_fallback=False):
    """A node's machine config with one mirror."""
    mirror = Mirror(host=host, url=urls[0], skip_fallback=skip_fallback)
    if documents:
        own = document(mirror)
        own["endpoints"] = [{"url": url} for url in urls]
        return [{"machine": {"type": "worker"}}, own]
    return [
        {
            "machine": {
                "registries": {"mirrors": {host: {**legacy_entry(mirror), "endpoints": [*urls]}}}
            }
        }
    ]


def node(made, dead, *, from_here=None, own_view=True):
    """A node for which these endpoints are dead; also from here, unless `from_here` differs."""
    answers = dict.fromkeys(endpoints(made), ANSWERS) | dead
    return NodeFacts(
        cluster="dev",
        address="10.5.0.2",
        config=made,
        answers=answers,
        from_here=answers | (from_here or {}),
        own_view=own_view,
        place=PLACE,
    )


def of(made, dead, **more):
    return of_node(node(made, dead, **more), {OURS}, {OURS, BEFORE}, STACK)


@BOTH
def test_a_node_whose_mirrors_answer_is_one_line(documents):
    [found] = of(config("docker.io", OURS, documents=documents), {})
    assert (found.state, found.about) == (OK, "node 10.5.0.2 of dev")
    assert found.text == "1 mirror, every endpoint answers"


def test_a_node_without_mirrors_has_none_that_is_dead():
    [found] = of([{"machine": {}}], {})
    assert found.text == "0 mirrors, every endpoint answers"


@BOTH
@pytest.mark.parametrize(
    ("answer", "skip_fallback", "happens"),
    [
        (REFUSED, False, "every pull from docker.io goes to the upstream"),
        (SILENT, False, "every request of a pull waits 30 s before it goes to the upstream"),
        (REFUSED, True, "pulls from docker.io fail, because skipFallback"),
        (SILENT, True, "every request of a pull waits 30 s, and pulls from docker.io fail, "),
    ],
    ids=["refused", "silent", "refused-no-fallback", "silent-no-fallback"],
)
def test_a_dead_mirror_says_what_happens_to_pulls(documents, answer, skip_fallback, happens):
    made = config("docker.io", OURS, documents=documents, skip_fallback=skip_fallback)
    [found] = of(made, {OURS: answer})
    assert (found.state, found.about, found.fix) == (PROBLEM, "node 10.5.0.2 of dev", UP)
    assert f"mirror of docker.io points to {OURS}, but {answer.why_not}: {happens}" in found.text


def test_endpoints_are_tried_in_order():
    made = config("docker.io", OURS, LAN, skip_fallback=True)
    [first] = of(made, {OURS: SILENT})
    assert first.text.endswith("waits 30 s before it goes to the next endpoint")
    [second] = of(made, {LAN: REFUSED})
    assert "the endpoints before it" in second.text
    assert "30 s" not in second.text
    [waits] = of(made, {LAN: SILENT})
    assert waits.text.endswith("each request waits 30 s")
    both = of(made, {OURS: REFUSED, LAN: REFUSED})
    assert len(both) == 2
    assert all("pulls from docker.io fail" in found.text for found in both)


def test_an_endpoint_of_an_earlier_run_is_removed_by_the_next_up():
    [found] = of(config("docker.io", BEFORE), {BEFORE: REFUSED}, from_here={BEFORE: ANSWERS})
    assert found.fix == UP


def test_a_cache_that_only_the_node_can_not_reach_is_not_fixed_by_an_up():
    [found] = of(config("docker.io", OURS), {OURS: SILENT}, from_here={OURS: ANSWERS})
    assert found.fix.startswith("it answers this machine")
    assert "sudo iptables -S" in found.fix


def test_what_only_this_machine_saw_is_reported_as_that():
    [found] = of(config("docker.io", OURS), {OURS: REFUSED}, own_view=False)
    assert "(Connection refused), as seen from this machine: " in found.text


@BOTH
def test_the_fix_removes_what_another_user_has_set(documents):
    [found] = of(config("quay.io", FOREIGN, documents=documents), {FOREIGN: REFUSED})
    deletion = (
        '{"apiVersion": "v1alpha1", "kind": "RegistryMirrorConfig", "name": "quay.io", '
        '"$patch": "delete"}'
        if documents
        else '{"machine": {"registries": {"mirrors": {"quay.io": {"$patch": "delete"}}}}}'
    )
    assert found.fix == (
        "talosctl --talosconfig folder/talosconfig --nodes 10.5.0.2 patch machineconfig "
        f"--mode no-reboot --patch '{deletion}'"
    )


@BOTH
def test_what_else_an_entry_has_is_set_again(documents):
    made = config("docker.io", OURS, FOREIGN, documents=documents, skip_fallback=True)
    [found] = of(made, {FOREIGN: SILENT})
    *_, deletion, flag, addition = shlex.split(found.fix)
    assert "delete" in deletion
    assert flag == "--patch"
    again = json.loads(addition)
    if not documents:
        again = again["machine"]["registries"]["mirrors"]["docker.io"]
    assert endpoints(config("docker.io", OURS)) == tuple(
        end["url"] if documents else end for end in again["endpoints"]
    )
    assert again["skipFallback"] is True


def test_a_document_replaces_a_legacy_entry_for_the_same_host():
    both = [*config("docker.io", FOREIGN, documents=False), *config("docker.io", OURS)]
    assert endpoints(both) == (OURS,)


def test_every_endpoint_of_every_mirror_is_checked_once():
    made = [*config("docker.io", OURS, LAN), *config("*", LAN)[1:]]
    assert endpoints(made) == (OURS, LAN)


def test_a_node_that_is_lost_is_recreated():
    found = of_lost_node("dev", "10.5.0.3", "its container dev-worker-1 does not run", STACK)
    assert (found.state, found.about) == (PROBLEM, "node 10.5.0.3 of dev")
    assert found.fix == "make cluster-down STACK=mine CLUSTER=dev && make cluster-up STACK=mine"


@BOTH
def test_the_mirrors_of_a_whole_stack_are_found_in_what_a_node_gets(documents):
    """What is written into nodes is what is checked there."""
    settings = parse({})
    plans = cache_plan.build(settings, addressing.resolve(settings, "172.17.0.1"))
    wanted = mirrors.build(plans)
    [text] = patches([], wanted, {}, documents=documents)
    assert endpoints(list(yaml.safe_load_all(text))) == tuple(m.url for m in wanted)


def test_a_harbor_that_does_not_answer_is_a_problem_and_one_that_does_is_not():
    url = "https://harbor.example.com"
    dead = of_harbor(url, REFUSED)
    assert (dead.state, url in dead.text) == (PROBLEM, True)
    assert "harbor.url" in dead.fix
    assert of_harbor(url, ANSWERS).state == OK


@pytest.mark.parametrize(("no_proxy", "shown"), [([], True), (["registry-1.docker.io"], False)])
def test_the_proxy_to_the_upstream_is_shown(no_proxy, shown):
    proxy = {"url": "http://proxy.lan:3128", "noProxy": no_proxy}
    settings = parse({"upstreams": {"docker.io": {}}, "upstreamProxy": proxy})
    [plan] = cache_plan.build(settings, addressing.resolve(settings, "172.17.0.1"))
    assert plan.asks == (proxy["url"] if shown else plan.remote_url)
    [found] = of_cache(plan, replace(SOUND, upstream=SILENT), STACK)
    assert ("(through http://proxy.lan:3128)" in found.text) == shown
