"""Patches of live nodes change nothing but what this stack has set, and nothing twice."""

import base64
import copy

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from plan.settings.credentials import Credentials
from plan.talos.mirror_updates import patches
from plan.talos.mirrors import Mirror, document, legacy_entry

OLD, NEW, OTHER = "http://172.17.0.1:5000", "http://172.17.0.1:6000", "http://10.0.0.9:5000"
HOST = "docker.io"
FORMATS = pytest.mark.parametrize("documents", [True, False], ids=["documents", "legacy"])
# The rest of a node's config, which no patch of mirrors touches.
MACHINE = {"version": "v1alpha1", "machine": {"type": "worker", "registries": {"config": {"a": 1}}}}
AUTH = {"apiVersion": "v1alpha1", "kind": "RegistryAuthConfig", "name": HOST, "username": "u"}


def entry(urls, **flags):
    """An entry as both formats can say it: its endpoints, and flags of the whole."""
    return {"urls": list(urls), **flags}


def config_with(entries, *, documents):
    """A node's config whose mirrors are these: host -> entry."""
    config = copy.deepcopy([MACHINE, AUTH] if documents else [MACHINE])
    for host, held in entries.items():
        flags = {key: value for key, value in held.items() if key != "urls"}
        if documents:
            endpoints = [{"url": url} for url in held["urls"]]
            made = {"apiVersion": "v1alpha1", "kind": "RegistryMirrorConfig", "name": host}
            config.append(made | {"endpoints": endpoints} | flags)
        else:
            mirrors = config[0]["machine"]["registries"].setdefault("mirrors", {})
            mirrors[host] = {"endpoints": list(held["urls"])} | flags
    return config


def entries_of(config, *, documents):
    """Host -> its entry, without what only says which one it is."""
    if documents:
        found = [doc for doc in config if doc.get("kind") == "RegistryMirrorConfig"]
        return {
            doc["name"]: {k: v for k, v in doc.items() if k not in ("apiVersion", "kind", "name")}
            for doc in found
        }
    return config[0]["machine"]["registries"].get("mirrors", {})


def urls_of(held):
    return [end["url"] if isinstance(end, dict) else end for end in held["endpoints"]]


def rest_of(config):
    """All of a config but its mirrors."""
    rest = [doc for doc in copy.deepcopy(config) if doc.get("kind") != "RegistryMirrorConfig"]
    rest[0]["machine"]["registries"].pop("mirrors", None)
    return rest


def merged(config, patch, *, documents):
    """Talos's strategic merge, as far as registries go (machinery/config/configpatcher).

    An entry of the same name is merged: its endpoints are appended, the rest is set. A deletion of
    what is not there is no patch that any release takes without harm.
    """
    config = copy.deepcopy(config)
    for change in yaml.safe_load_all(patch):
        if documents:
            same = [
                doc
                for doc in config
                if (doc.get("kind"), doc.get("name")) == (change["kind"], change["name"])
            ]
            if change.get("$patch") == "delete":
                assert same, "an absent document is deleted"
                config.remove(same[0])
            elif same:
                merge_into(same[0], change)
            else:
                config.append(change)
            continue
        assert list(change) == ["machine"]
        for part, entries in change["machine"]["registries"].items():
            held = config[0]["machine"]["registries"].setdefault(part, {})
            for name, new in entries.items():
                if new.get("$patch") == "delete":
                    assert name in held, "an absent entry is deleted"
                    del held[name]
                elif name in held:
                    merge_into(held[name], new)
                else:
                    held[name] = new
    return config


def merge_into(held, new):
    """Lists are appended, mappings merged, the rest is set."""
    for key, value in new.items():
        if isinstance(value, list):
            held[key] = [*held.get(key, []), *value]
        elif isinstance(value, dict):
            merge_into(held.setdefault(key, {}), value)
        else:
            held[key] = value


def applied_to(config, made, *, documents):
    for patch in made:
        config = merged(config, patch, documents=documents)
    return config


def each_alone(applied):
    """One URL per host -> a set of one, as a run that did not fail leaves it."""
    return {host: {url} for host, url in applied.items()}


def made_for(entries, wanted, applied, *, documents):
    """The patches for a node with these entries, and its entries once they are applied."""
    config = config_with(entries, documents=documents)
    made = patches(config, wanted, each_alone(applied), documents=documents)
    after = applied_to(config, made, documents=documents)
    assert rest_of(after) == rest_of(config)
    return made, entries_of(after, documents=documents)


def own(mirror, *, documents):
    if not documents:
        return legacy_entry(mirror)
    return {k: v for k, v in document(mirror).items() if k in ("endpoints", "skipFallback")}


@FORMATS
def test_a_node_that_is_up_to_date_gets_no_patch(documents):
    mirror = Mirror(host=HOST, url=OLD)
    made, _ = made_for({HOST: entry([OLD])}, [mirror], {HOST: OLD}, documents=documents)
    assert made == ()


@FORMATS
def test_without_mirrors_there_is_nothing_to_do(documents):
    assert patches([], [], {}, documents=documents) == ()
    assert patches([{"machine": None}], [], {}, documents=documents) == ()


@FORMATS
def test_a_new_upstream_is_added_and_nothing_deleted(documents):
    mirror = Mirror(host=HOST, url=OLD, skip_fallback=True, override_path=True)
    made, after = made_for({}, [mirror], {}, documents=documents)
    assert len(made) == 1
    assert "$patch" not in made[0], "nodes up to 1.13 would keep the deletion as a document"
    assert after == {HOST: own(mirror, documents=documents)}


@FORMATS
def test_an_upstream_that_left_the_stack_is_deleted(documents):
    held = {HOST: entry([OLD]), "quay.io": entry([OTHER])}
    made, after = made_for(held, [], {HOST: OLD}, documents=documents)
    assert len(made) == 1
    assert list(after) == ["quay.io"], "an entry that this stack has not set stays"


def test_the_deletion_of_a_document_contains_nothing_else():
    made, _ = made_for({HOST: entry([OLD])}, [], {HOST: OLD}, documents=True)
    assert [yaml.safe_load(patch) for patch in made] == [
        {
            "apiVersion": "v1alpha1",
            "kind": "RegistryMirrorConfig",
            "name": HOST,
            "$patch": "delete",
        }
    ]


def test_the_deletion_of_a_legacy_entry_contains_nothing_else():
    made, _ = made_for({HOST: entry([OLD])}, [], {HOST: OLD}, documents=False)
    deletion = {"machine": {"registries": {"mirrors": {HOST: {"$patch": "delete"}}}}}
    assert [yaml.safe_load(patch) for patch in made] == [deletion]


@FORMATS
def test_a_changed_port_is_a_deletion_and_then_an_addition(documents):
    mirror = Mirror(host=HOST, url=NEW)
    made, after = made_for({HOST: entry([OLD])}, [mirror], {HOST: OLD}, documents=documents)
    first, second = made
    assert "$patch: delete" in first, "a patch can only add to the endpoints"
    assert OLD not in first + second
    assert "$patch" not in second
    assert NEW in second
    assert after == {HOST: own(mirror, documents=documents)}


@FORMATS
def test_several_changes_are_one_deletion_and_one_addition(documents):
    held = {HOST: entry([OLD]), "quay.io": entry([OLD]), "gcr.io": entry([OLD])}
    wanted = [Mirror(host=HOST, url=NEW), Mirror(host="ghcr.io", url=NEW)]
    applied = dict.fromkeys(held, OLD)
    made, after = made_for(held, wanted, applied, documents=documents)
    assert len(made) == 2
    assert set(after) == {HOST, "ghcr.io"}


@FORMATS
@pytest.mark.parametrize("flag", ["skip_fallback", "override_path"])
def test_a_changed_flag_is_set_and_taken_back(documents, flag):
    plain, special = Mirror(host=HOST, url=OLD), Mirror(host=HOST, url=OLD, **{flag: True})
    config = config_with({HOST: entry([OLD])}, documents=documents)
    for mirror in (special, plain):
        made = patches(config, [mirror], {HOST: {OLD}}, documents=documents)
        config = applied_to(config, made, documents=documents)
        assert entries_of(config, documents=documents)[HOST] == own(mirror, documents=documents)


@FORMATS
def test_endpoints_of_others_stay_behind_the_stacks_own(documents):
    mirror = Mirror(host=HOST, url=NEW)
    held = {HOST: entry([OTHER, OLD])}
    _, after = made_for(held, [mirror], {HOST: OLD}, documents=documents)
    assert urls_of(after[HOST]) == [NEW, OTHER]


@FORMATS
def test_only_what_this_stack_has_set_is_removed_from_an_entry(documents):
    held = {HOST: entry([OLD, OTHER], skipFallback=True)}
    _, after = made_for(held, [], {HOST: OLD}, documents=documents)
    assert urls_of(after[HOST]) == [OTHER]
    assert after[HOST]["skipFallback"] is True


def test_an_endpoint_of_another_keeps_its_own_flags():
    config = config_with({HOST: entry([OLD])}, documents=True)
    config[-1]["endpoints"].append({"url": OTHER, "overridePath": True})
    made = patches(config, [Mirror(host=HOST, url=NEW)], {HOST: {OLD}}, documents=True)
    (after,) = entries_of(applied_to(config, made, documents=True), documents=True).values()
    assert after["endpoints"] == [{"url": NEW}, {"url": OTHER, "overridePath": True}]


@FORMATS
def test_an_endpoint_that_is_there_twice_is_reduced_to_one(documents):
    held = {HOST: entry([OLD, OLD])}
    _, after = made_for(held, [Mirror(host=HOST, url=OLD)], {HOST: OLD}, documents=documents)
    assert urls_of(after[HOST]) == [OLD]


@FORMATS
def test_an_entry_of_others_is_never_removed(documents):
    for urls in ([OTHER], []):
        for applied in ({}, {HOST: OLD}):
            made, _ = made_for({HOST: entry(urls)}, [], applied, documents=documents)
            assert made == (), "nothing in it is this stack's"


@FORMATS
def test_an_entry_that_is_gone_already_is_not_deleted(documents):
    made, after = made_for({}, [], {HOST: OLD}, documents=documents)
    assert (made, after) == ((), {})


@FORMATS
def test_an_entry_that_was_deleted_on_the_node_is_added_again(documents):
    made, after = made_for({}, [Mirror(host=HOST, url=NEW)], {HOST: OLD}, documents=documents)
    assert len(made) == 1
    assert urls_of(after[HOST]) == [NEW]


@FORMATS
def test_entries_of_the_other_format_are_ignored(documents):
    config = config_with({HOST: entry([OLD])}, documents=not documents)
    assert patches(config, [], {HOST: {OLD}}, documents=documents) == ()


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


@FORMATS
@settings(max_examples=100, deadline=None)
@given(held=all_entries, wanted=all_wanted, applied=st.dictionaries(hosts, ours))
def test_whatever_a_node_has_it_is_up_to_date_after_its_patches(documents, held, wanted, applied):
    config = config_with(held, documents=documents)
    made = patches(config, wanted, each_alone(applied), documents=documents)
    after = applied_to(config, made, documents=documents)
    for known in (applied, {mirror.host: mirror.url for mirror in wanted}):
        assert patches(after, wanted, each_alone(known), documents=documents) == (), (
            "it can be run again"
        )

    assert rest_of(after) == rest_of(config)
    have = entries_of(after, documents=documents)
    had = entries_of(config, documents=documents)
    mirrors = {mirror.host: mirror for mirror in wanted}
    for host in held.keys() | mirrors.keys():
        if host not in mirrors and host not in applied:
            assert have[host] == had[host], "this stack has nothing to do with it"
            continue
        mine = mirrors[host].url if host in mirrors else None
        before = urls_of(had[host]) if host in had else []
        foreign = [url for url in before if url not in (mine, applied.get(host))]
        expected = [mine, *foreign] if mine else foreign
        assert (urls_of(have[host]) if host in have else []) == expected


@FORMATS
def test_what_a_failed_update_may_have_set_is_the_stacks_own_too(documents):
    """If a port changed twice while a node was away, the one in between does not stay."""
    middle = "http://172.17.0.1:5999"
    config = config_with({HOST: entry([middle])}, documents=documents)
    applied = {HOST: {OLD, middle}}
    made = patches(config, [Mirror(host=HOST, url=NEW)], applied, documents=documents)
    after = applied_to(config, made, documents=documents)
    assert [urls_of(held) for held in entries_of(after, documents=documents).values()] == [[NEW]]
    made = patches(config, [], applied, documents=documents)
    after = applied_to(config, made, documents=documents)
    assert entries_of(after, documents=documents) == {}


# TLS and logins of endpoints. HERE and THERE are two endpoints of this stack.
HERE, THERE, FOREIGN = "172.17.0.1:5000", "172.17.0.1:6000", "10.0.0.9:5000"
LOGIN = Credentials(username="nodes", password="hunter2")
KINDS = {"tls": "RegistryTLSConfig", "auth": "RegistryAuthConfig"}


def legacy_form(known):
    """What a `machine.registries.config` entry holds for these."""
    form = {}
    if "ca" in known:
        form["tls"] = {"ca": base64.b64encode(known["ca"].encode()).decode()}
    if "login" in known:
        form["auth"] = {"username": known["login"].username, "password": known["login"].password}
    return form


def with_configs(config, configs, *, documents):
    """The config that also knows these endpoints: name -> ca and login, as a mirror has them."""
    config = copy.deepcopy(config)
    for name, known in configs.items():
        if not documents:
            config[0]["machine"]["registries"]["config"][name] = legacy_form(known)
            continue
        head = {"apiVersion": "v1alpha1", "name": name}
        if "ca" in known:
            config.append({**head, "kind": KINDS["tls"], "ca": known["ca"]})
        if "login" in known:
            config.append({**head, "kind": KINDS["auth"], **legacy_form(known)["auth"]})
    return config


def configs_of(config, *, documents):
    """Endpoint -> what the config knows of it, in one form for both formats."""
    if not documents:
        held = config[0]["machine"]["registries"]["config"]
        return {name: value for name, value in held.items() if name != "a"}
    found = {}
    for doc in config:
        if doc == AUTH:
            continue
        if doc.get("kind") == KINDS["tls"]:
            ca = base64.b64encode(doc["ca"].encode()).decode()
            found.setdefault(doc["name"], {})["tls"] = {"ca": ca}
        elif doc.get("kind") == KINDS["auth"]:
            login = {key: doc[key] for key in ("username", "password")}
            found.setdefault(doc["name"], {})["auth"] = login
    return found


def known_after(held, configs, wanted, applied, *, documents):
    """The patches for a node, and what it knows of endpoints once they are applied."""
    config = with_configs(config_with(held, documents=documents), configs, documents=documents)
    made = patches(config, wanted, applied, documents=documents)
    after = applied_to(config, made, documents=documents)
    assert not patches(after, wanted, applied, documents=documents), "it can be run again"
    rest = after[0]["machine"]["registries"]["config"] if not documents else AUTH
    assert rest["a"] if not documents else AUTH in after, "what is not about the stack stays"
    return made, configs_of(after, documents=documents)


BOTH = {"ca": "a CA", "login": LOGIN}
SECURE = Mirror(host=HOST, url=f"https://{HERE}", **BOTH)
SET_BEFORE = {HOST: {SECURE.url}}


@FORMATS
@pytest.mark.parametrize("known", [{"ca": "a CA"}, {"login": LOGIN}, BOTH], ids=str)
def test_tls_and_login_come_with_their_mirror(documents, known):
    mirror = Mirror(host=HOST, url=f"https://{HERE}", **known)
    made, after = known_after({}, {}, [mirror], {}, documents=documents)
    assert len(made) == 1, "nothing is deleted, so one patch does it"
    assert after == {HERE: legacy_form(known)}


@FORMATS
def test_tls_and_login_that_are_there_already_are_left_alone(documents):
    held = {HOST: entry([SECURE.url])}
    made, _ = known_after(held, {HERE: BOTH}, [SECURE], SET_BEFORE, documents=documents)
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
def test_a_changed_ca_or_login_is_replaced(documents, before):
    held = {HOST: entry([SECURE.url])}
    made, after = known_after(held, {HERE: before}, [SECURE], SET_BEFORE, documents=documents)
    assert after == {HERE: legacy_form(BOTH)}
    assert "$patch: delete" in made[0], "a merge would leave what the new entry does not name"


def test_a_changed_ca_touches_no_login():
    held, before = {HOST: entry([SECURE.url])}, {"ca": "the CA of last year", "login": LOGIN}
    made, _ = known_after(held, {HERE: before}, [SECURE], SET_BEFORE, documents=True)
    assert KINDS["auth"] not in "".join(made), "it would need a reboot for nothing"


@FORMATS
@pytest.mark.parametrize(
    ("mirrors", "expected"),
    [
        ([], {}),
        # A node refuses TLS settings of an http endpoint.
        ([Mirror(host=HOST, url=f"http://{HERE}")], {}),
        ([Mirror(host=HOST, url=f"https://{THERE}", **BOTH)], {THERE: BOTH}),
    ],
    ids=["left", "tls turned off", "moved"],
)
def test_tls_and_login_go_with_the_endpoint_of_their_mirror(documents, mirrors, expected):
    held = {HOST: entry([SECURE.url])}
    made, after = known_after(held, {HERE: BOTH}, mirrors, SET_BEFORE, documents=documents)
    assert after == {name: legacy_form(known) for name, known in expected.items()}
    assert "hunter2" not in made[0], "a deletion repeats no secret"


@FORMATS
def test_tls_and_login_stay_while_a_mirror_of_others_needs_them(documents):
    held = {HOST: entry([SECURE.url]), "quay.io": entry([f"https://{HERE}/v2/quay"])}
    _, after = known_after(held, {HERE: BOTH}, [], SET_BEFORE, documents=documents)
    assert after == {HERE: legacy_form(BOTH)}, "the other mirror would break"
    used = {HOST: entry([SECURE.url]), "quay.io": entry([f"https://{FOREIGN}", SECURE.url])}
    _, after = known_after(used, {HERE: BOTH}, [], SET_BEFORE, documents=documents)
    assert after == {HERE: legacy_form(BOTH)}


@FORMATS
def test_tls_and_login_stay_while_another_mirror_of_the_stack_uses_them(documents):
    other = Mirror(host="quay.io", url=f"https://{HERE}/v2/quay", override_path=True, **BOTH)
    held = {HOST: entry([SECURE.url]), "quay.io": entry([other.url], overridePath=True)}
    applied = {HOST: {SECURE.url}, "quay.io": {other.url}}
    _, after = known_after(held, {HERE: BOTH}, [other], applied, documents=documents)
    assert after == {HERE: legacy_form(BOTH)}


@FORMATS
def test_tls_and_login_of_other_endpoints_stay(documents):
    configs = {FOREIGN: BOTH, HERE: BOTH}
    held = {HOST: entry([SECURE.url])}
    _, after = known_after(held, configs, [], SET_BEFORE, documents=documents)
    assert after == {FOREIGN: legacy_form(BOTH)}


@FORMATS
def test_an_entry_without_endpoints_uses_none(documents):
    held = {HOST: entry([SECURE.url])}
    config = with_configs(config_with(held, documents=documents), {HERE: BOTH}, documents=documents)
    if documents:
        config.append({"kind": "RegistryMirrorConfig", "name": "quay.io", "endpoints": None})
    else:
        config[0]["machine"]["registries"]["mirrors"]["quay.io"] = {"endpoints": None}
    made = patches(config, [], SET_BEFORE, documents=documents)
    assert configs_of(applied_to(config, made, documents=documents), documents=documents) == {}


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
    applied=st.dictionaries(hosts, ours),
)
def test_whatever_a_node_has_its_tls_and_logins_are_right_after_its_patches(
    documents, held, configs, wanted, known, applied
):
    mirrors = [Mirror(host=host, url=url, **known[url]) for host, url in wanted.items()]
    config = with_configs(config_with(held, documents=documents), configs, documents=documents)
    made = patches(config, mirrors, each_alone(applied), documents=documents)
    after = applied_to(config, made, documents=documents)
    assert patches(after, mirrors, each_alone(applied), documents=documents) == ()

    now = configs_of(after, documents=documents)
    before = configs_of(config, documents=documents)
    used = {
        url for each in entries_of(after, documents=documents).values() for url in urls_of(each)
    }
    for url, name in ((OLD, HERE), (NEW, THERE), (OTHER, FOREIGN)):
        if url in wanted.values():
            assert now.get(name, {}) == legacy_form(known[url])
        elif url in applied.values() and url not in used:
            assert name not in now, "nothing would ever remove it"
        else:
            assert now.get(name) == before.get(name), "this stack has nothing to do with it"
