"""Patches of live nodes change nothing but what this stack has set, and nothing twice."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from plan.settings.credentials import Credentials
from plan.talos.mirror_updates import patches
from plan.talos.mirrors import Mirror, document, legacy_entry
from tests.unit.plan.talos.nodes import (
    AUTH,
    FOREIGN,
    HERE,
    HOST,
    LOGIN,
    THERE,
    Node,
    entry,
    legacy_form,
    urls_of,
)

OLD, NEW, OTHER = f"http://{HERE}", f"http://{THERE}", f"http://{FOREIGN}"
FORMATS = pytest.mark.parametrize("documents", [True, False], ids=["documents", "legacy"])
BEFORE = {HOST: {OLD}}


def own(mirror, *, documents):
    """The entry of a mirror, as a node without another one gets it."""
    if not documents:
        return legacy_entry(mirror)
    return {k: v for k, v in document(mirror).items() if k in ("endpoints", "skipFallback")}


class TestMirrors:
    @FORMATS
    @pytest.mark.parametrize(
        ("held", "wanted", "applied"),
        [
            ({HOST: entry([OLD])}, [Mirror(host=HOST, url=OLD)], BEFORE),
            ({}, [], {}),
            # What was deleted on the node already.
            ({}, [], BEFORE),
            # Nothing in it is this stack's.
            ({HOST: entry([OTHER])}, [], {}),
            ({HOST: entry([OTHER])}, [], BEFORE),
            ({HOST: entry([])}, [], {}),
            ({HOST: entry([])}, [], BEFORE),
        ],
        ids=["same", "none", "gone", "other", "other-since", "empty", "empty-since"],
    )
    def test_a_node_that_is_up_to_date_gets_no_patch(self, documents, held, wanted, applied):
        assert Node(held, documents=documents).update(wanted, applied) == ()

    @FORMATS
    def test_a_config_without_registries_has_no_mirrors(self, documents):
        for config in ([], [{"machine": None}]):
            assert patches(config, [], {}, documents=documents) == ()

    @FORMATS
    @pytest.mark.parametrize("applied", [{}, BEFORE], ids=["new", "deleted-on-the-node"])
    def test_a_missing_upstream_is_added_and_nothing_deleted(self, documents, applied):
        mirror = Mirror(host=HOST, url=NEW, skip_fallback=True, override_path=True)
        node = Node({}, documents=documents)
        (made,) = node.update([mirror], applied)
        assert "$patch" not in made, "nodes up to 1.13 would keep the deletion as a document"
        assert node.mirrors == {HOST: own(mirror, documents=documents)}

    @pytest.mark.parametrize(
        ("documents", "deletion"),
        [
            (
                True,
                {
                    "apiVersion": "v1alpha1",
                    "kind": "RegistryMirrorConfig",
                    "name": HOST,
                    "$patch": "delete",
                },
            ),
            (False, {"machine": {"registries": {"mirrors": {HOST: {"$patch": "delete"}}}}}),
        ],
        ids=["documents", "legacy"],
    )
    def test_an_upstream_that_left_the_stack_is_deleted(self, documents, deletion):
        node = Node({HOST: entry([OLD]), "quay.io": entry([OTHER])}, documents=documents)
        (made,) = node.update([], BEFORE)
        assert yaml.safe_load(made) == deletion
        assert list(node.mirrors) == ["quay.io"], "an entry that this stack has not set stays"

    @FORMATS
    def test_a_changed_port_is_a_deletion_and_then_an_addition(self, documents):
        mirror = Mirror(host=HOST, url=NEW)
        node = Node({HOST: entry([OLD])}, documents=documents)
        first, second = node.update([mirror], BEFORE)
        assert "$patch: delete" in first, "a patch can only add to the endpoints"
        assert OLD not in first + second
        assert "$patch" not in second
        assert NEW in second
        assert node.mirrors == {HOST: own(mirror, documents=documents)}

    @FORMATS
    def test_several_changes_are_one_deletion_and_one_addition(self, documents):
        held = {HOST: entry([OLD]), "quay.io": entry([OLD]), "gcr.io": entry([OLD])}
        node = Node(held, documents=documents)
        wanted = [Mirror(host=HOST, url=NEW), Mirror(host="ghcr.io", url=NEW)]
        assert len(node.update(wanted, {host: {OLD} for host in held})) == 2
        assert set(node.mirrors) == {HOST, "ghcr.io"}

    @FORMATS
    @pytest.mark.parametrize("flag", ["skip_fallback", "override_path"])
    def test_a_changed_flag_is_set_and_taken_back(self, documents, flag):
        node = Node({HOST: entry([OLD])}, documents=documents)
        for value in (True, False):
            mirror = Mirror(host=HOST, url=OLD, **{flag: value})
            node.update([mirror], BEFORE)
            assert node.mirrors == {HOST: own(mirror, documents=documents)}

    @FORMATS
    @pytest.mark.parametrize(
        ("urls", "applied", "after"),
        [
            ([OTHER, OLD], {OLD}, [NEW, OTHER]),
            ([NEW, NEW], {NEW}, [NEW]),
            # A port that changed twice while a node was away.
            (["http://172.17.0.1:5999"], {OLD, "http://172.17.0.1:5999"}, [NEW]),
        ],
        ids=["of-others", "twice", "of-a-failed-update"],
    )
    def test_endpoints_of_others_stay_behind_the_stacks_own(self, documents, urls, applied, after):
        node = Node({HOST: entry(urls)}, documents=documents)
        node.update([Mirror(host=HOST, url=NEW)], {HOST: applied})
        assert node.urls == {HOST: after}

    @FORMATS
    def test_all_that_this_stack_may_have_set_is_removed_and_nothing_else(self, documents):
        node = Node({HOST: entry([OLD, OTHER, NEW], skipFallback=True)}, documents=documents)
        node.update([], {HOST: {OLD, NEW}})
        assert node.urls == {HOST: [OTHER]}
        assert node.mirrors[HOST]["skipFallback"] is True

    def test_an_endpoint_of_another_keeps_its_own_flags(self):
        node = Node({HOST: entry([OLD])}, documents=True)
        foreign = {"url": OTHER, "overridePath": True}
        node.config[-1]["endpoints"].append(foreign)
        node.update([Mirror(host=HOST, url=NEW)], BEFORE)
        assert node.mirrors[HOST]["endpoints"] == [{"url": NEW}, foreign]

    @FORMATS
    def test_entries_of_the_other_format_are_ignored(self, documents):
        node = Node({HOST: entry([OLD])}, documents=not documents)
        assert patches(node.config, [], BEFORE, documents=documents) == ()


hosts = st.sampled_from([HOST, "quay.io", "localhost:5000", "*"])
# Few enough for the stack's own, earlier and later, and those of others to meet in one entry.
ours, others = st.sampled_from([OLD, NEW]), st.sampled_from([OTHER, "https://mirror.lan"])
all_entries = st.dictionaries(
    hosts,
    st.builds(
        lambda urls, flags: entry(urls, **flags),
        st.lists(st.one_of(ours, others), max_size=4),
        st.sampled_from([{}, {"skipFallback": True}]),
    ),
)
all_wanted = st.dictionaries(hosts, st.tuples(ours, st.booleans(), st.booleans())).map(
    lambda by_host: [
        Mirror(host=host, url=url, skip_fallback=skip, override_path=override)
        for host, (url, skip, override) in by_host.items()
    ]
)
# One URL per host, as a run that did not fail leaves it.
all_applied = st.dictionaries(hosts, ours.map(lambda url: {url}))


@FORMATS
@settings(max_examples=100, deadline=None)
@given(held=all_entries, wanted=all_wanted, applied=all_applied)
def test_whatever_a_node_has_it_is_up_to_date_after_its_patches(documents, held, wanted, applied):
    node = Node(held, documents=documents)
    had = node.mirrors
    node.update(wanted, applied)
    mirrors = {mirror.host: mirror for mirror in wanted}
    done = {mirror.host: {mirror.url} for mirror in wanted}
    assert patches(node.config, wanted, done, documents=documents) == ()
    assert node.configs == {}, "no TLS and no login"
    for host in held.keys() | mirrors.keys():
        if host not in mirrors and host not in applied:
            assert node.mirrors[host] == had[host], "this stack has nothing to do with it"
            continue
        mine = [mirrors[host].url] if host in mirrors else []
        before = urls_of(had[host]) if host in had else []
        foreign = [url for url in before if url not in {*mine, *applied.get(host, ())}]
        assert node.urls.get(host, []) == [*mine, *foreign]


BOTH = {"ca": "a CA", "login": LOGIN}
SECURE = Mirror(host=HOST, url=f"https://{HERE}", **BOTH)
SET_BEFORE = {HOST: {SECURE.url}}
HELD = {HOST: entry([SECURE.url])}


class TestTlsAndLogins:
    @FORMATS
    @pytest.mark.parametrize("known", [{"ca": "a CA"}, {"login": LOGIN}, BOTH], ids=str)
    def test_they_come_with_their_mirror(self, documents, known):
        node = Node({}, documents=documents)
        made = node.update([Mirror(host=HOST, url=f"https://{HERE}", **known)], {})
        assert len(made) == 1, "nothing is deleted, so one patch does it"
        assert node.configs == {HERE: legacy_form(known)}

    @FORMATS
    def test_those_that_are_there_already_are_left_alone(self, documents):
        made = Node(HELD, {HERE: BOTH}, documents=documents).update([SECURE], SET_BEFORE)
        assert made == (), "a patch of a login makes nodes up to 1.13 reboot"

    @FORMATS
    @pytest.mark.parametrize(
        "before",
        [
            {"ca": "the CA of last year", "login": LOGIN},
            {"ca": "a CA", "login": Credentials(username="nodes", password="hunter1")},
            {"ca": "the CA of last year"},
        ],
        ids=["ca", "password", "both"],
    )
    def test_a_changed_one_is_replaced(self, documents, before):
        node = Node(HELD, {HERE: before}, documents=documents)
        made = node.update([SECURE], SET_BEFORE)
        assert node.configs == {HERE: legacy_form(BOTH)}
        assert "$patch: delete" in made[0], "a merge would leave what the new entry does not name"

    def test_a_changed_ca_touches_no_login(self):
        before = {"ca": "the CA of last year", "login": LOGIN}
        made = Node(HELD, {HERE: before}, documents=True).update([SECURE], SET_BEFORE)
        assert AUTH not in "".join(made), "it would need a reboot for nothing"

    @FORMATS
    @pytest.mark.parametrize(
        ("mirrors", "expected"),
        [
            ([], {}),
            # A node refuses TLS settings of an http endpoint.
            ([Mirror(host=HOST, url=f"http://{HERE}")], {}),
            ([Mirror(host=HOST, url=f"https://{THERE}", **BOTH)], {THERE: legacy_form(BOTH)}),
        ],
        ids=["left", "tls turned off", "moved"],
    )
    def test_they_go_with_the_endpoint_of_their_mirror(self, documents, mirrors, expected):
        node = Node(HELD, {HERE: BOTH}, documents=documents)
        made = node.update(mirrors, SET_BEFORE)
        assert node.configs == expected
        assert "hunter2" not in made[0], "a deletion repeats no secret"

    @FORMATS
    @pytest.mark.parametrize(
        "urls",
        [[f"https://{HERE}/v2/quay"], [f"https://{FOREIGN}", SECURE.url]],
        ids=["path", "second"],
    )
    def test_they_stay_while_a_mirror_of_others_needs_them(self, documents, urls):
        node = Node({**HELD, "quay.io": entry(urls)}, {HERE: BOTH}, documents=documents)
        node.update([], SET_BEFORE)
        assert node.configs == {HERE: legacy_form(BOTH)}, "the other mirror would break"

    @FORMATS
    def test_they_stay_while_another_mirror_of_the_stack_uses_them(self, documents):
        other = Mirror(host="quay.io", url=f"https://{HERE}/v2/quay", override_path=True, **BOTH)
        held = {**HELD, "quay.io": entry([other.url], overridePath=True)}
        node = Node(held, {HERE: BOTH}, documents=documents)
        node.update([other], {**SET_BEFORE, "quay.io": {other.url}})
        assert node.configs == {HERE: legacy_form(BOTH)}

    @FORMATS
    def test_those_of_other_endpoints_stay(self, documents):
        node = Node(HELD, {FOREIGN: BOTH, HERE: BOTH}, documents=documents)
        node.update([], SET_BEFORE)
        assert node.configs == {FOREIGN: legacy_form(BOTH)}

    @FORMATS
    def test_an_entry_without_endpoints_uses_none(self, documents):
        node = Node(HELD, {HERE: BOTH}, documents=documents)
        node.add_mirror("quay.io", None)
        node.update([], SET_BEFORE)
        assert node.configs == {}


known_of = st.fixed_dictionaries(
    {},
    optional={
        "ca": st.sampled_from(["a CA", "another CA"]),
        "login": st.sampled_from([LOGIN, Credentials(username="nodes", password="other")]),
    },
)
# One CA and one login per endpoint: the plan never has two.
per_endpoint = st.fixed_dictionaries({OLD: known_of, NEW: known_of})
held_configs = st.dictionaries(st.sampled_from([HERE, THERE, FOREIGN]), known_of.filter(bool))


@FORMATS
@settings(max_examples=150, deadline=None)
@given(
    held=all_entries,
    configs=held_configs,
    wanted=st.dictionaries(hosts, ours),
    known=per_endpoint,
    applied=all_applied,
)
def test_whatever_a_node_has_its_tls_and_logins_are_right_after_its_patches(
    documents, held, configs, wanted, known, applied
):
    mirrors = [Mirror(host=host, url=url, **known[url]) for host, url in wanted.items()]
    node = Node(held, configs, documents=documents)
    before = node.configs
    node.update(mirrors, applied)
    used = {url for urls in node.urls.values() for url in urls}
    for url, name in ((OLD, HERE), (NEW, THERE), (OTHER, FOREIGN)):
        if url in wanted.values():
            assert node.configs.get(name, {}) == legacy_form(known[url])
        elif {url} in applied.values() and url not in used:
            assert name not in node.configs, "nothing would ever remove it"
        else:
            assert node.configs.get(name) == before.get(name), "it is not the stack's"
