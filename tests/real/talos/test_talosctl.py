"""Real talosctl of both families: every line that the plan can write is a line that it takes."""

import shlex
import subprocess
from dataclasses import replace

import pytest
import yaml

from plan.caches import addressing, cache_plan
from plan.caches.tls import ServerCertificate
from plan.harbor import from_settings
from plan.settings.stack import parse
from plan.talos import mirror_updates, mirrors
from plan.talos.create_flags import create_argv, destroy_argv
from plan.talos.images import (
    image_list_argv,
    nodes_images_argv,
    with_kubernetes,
)
from plan.talos.mirrors import Mirror, documents_patch, legacy_patch
from plan.talos.node_commands import (
    boot_argv,
    patch_argv,
    patch_line,
    read_config_argv,
    service_argv,
)
from plan.talos.talosctl import Place
from plan.talos.unsupported import refusals
from plan.talos.versions import version_in
from tests.real.private.authority import Authority
from tests.real.talos.conftest import ANSWER_SECONDS
from toolchain import talosctl as builds

# 1.12, the first with the new command line, is tried only on what may differ between releases.
VERSIONS = ("1.11.5", "1.12.0", "1.13.0")
each_family = pytest.mark.parametrize("talosctl", ["1.11.5", "1.13.0"], indirect=True)
UPSTREAMS = {
    "docker.io": {},
    "ghcr.io": {"skipFallback": True},
    "registry.k8s.io": {"overridePath": True},
}
# Where talosctl gets to when it has taken every flag.
NO_DOCKER = "unix:///nowhere/docker.sock"


@pytest.fixture(params=VERSIONS)
def talosctl(request, tmp_path):
    """A talosctl in a folder of its own, without a Docker."""
    program = str(builds.ensure(request.param))
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "DOCKER_HOST": NO_DOCKER}

    def run(*arguments, check=True):
        done = subprocess.run(
            [program, *arguments],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=ANSWER_SECONDS,
        )
        if check:
            assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout + done.stderr

    run.version = version_in(request.param)
    run.program = program
    return run


def mirrors_of(upstreams):
    chosen = parse({"upstreams": upstreams})
    return mirrors.build(cache_plan.build(chosen, addressing.resolve(chosen, "172.17.0.1")))


def place(talosctl, tmp_path, patches=()):
    return Place(
        program=talosctl.program,
        state=str(tmp_path / "state"),
        talosconfig=str(tmp_path / "talosconfig"),
        patches=patches,
    )


def docker_clusters(version):
    """Every key that changes a Docker cluster's line: each by itself, and all of them together."""
    options = (
        {"talosVersion": f"v1.{version.minor}.0"},
        {"image": "ghcr.io/a/b:v1.11.0"},
        {"kubernetesVersion": "v1.33.0"},
        {"controlPlaneCpus": 1.5, "workerMemory": "512MiB"},
        {"exposedPorts": ["8080:80/tcp", "127.0.0.1:5353:53/udp"]},
        {"createTimeout": "90s"},
        {"wait": False},
        {"controlPlanes": 3},
    )
    together = {key: value for option in options[2:6] for key, value in option.items()}
    for config in ({}, *options, together):
        cluster = parse({"cluster": config}).clusters[0]
        if not refusals(cluster, version):
            yield cluster


def test_every_docker_line_is_taken(talosctl, tmp_path):
    patch = tmp_path / "patch.yaml"
    patch.write_text("machine: {env: {A: b}}\n")
    scopes = (("all", str(patch)), ("controlPlanes", str(patch)), ("workers", str(patch)))
    clusters = list(docker_clusters(talosctl.version))
    assert len(clusters) >= 8
    for index, cluster in enumerate(clusters):
        where = place(talosctl, tmp_path / str(index), scopes)
        argv = create_argv(cluster, mirrors_of(UPSTREAMS), talosctl.version, where)
        said = talosctl(*argv[1:], check=False)
        assert "nowhere/docker.sock" in said, f"{argv}: {said}"
        assert "flag" not in said, f"{argv}: {said}"


@each_family
def test_a_flag_that_there_is_not_would_be_seen(talosctl, tmp_path):
    cluster = parse({"cluster": {}}).clusters[0]
    argv = create_argv(cluster, (), talosctl.version, place(talosctl, tmp_path))
    said = talosctl(*argv[1:], "--no-such-flag", "1", check=False)
    assert "unknown flag: --no-such-flag" in said


@each_family
def test_the_line_of_the_other_family_is_not_taken(talosctl, tmp_path):
    """What the families are for: each refuses the other's flags, or does something else."""
    other = version_in("1.13.0" if talosctl.version.minor == 11 else "1.11.5")
    cluster = parse({"cluster": {}}).clusters[0]
    argv = create_argv(cluster, (), other, place(talosctl, tmp_path))
    said = talosctl(*argv[1:], check=False)
    assert "nowhere/docker.sock" not in said


@pytest.mark.parametrize("provisioner", ["docker", "qemu"])
def test_destroy_is_taken(talosctl, tmp_path, provisioner):
    cluster = parse({"cluster": {"provisioner": provisioner}}).clusters[0]
    argv = destroy_argv(cluster, talosctl.version, place(talosctl, tmp_path))
    said = talosctl(*argv[1:], check=False)
    assert "unknown" not in said
    assert "not found" in said or "nowhere/docker.sock" in said, said


def listed(talosctl):
    argv = image_list_argv(talosctl.program, talosctl.version, str(talosctl.version))
    return talosctl(*argv[1:]).split()


def test_each_lists_what_a_cluster_of_its_release_needs(talosctl):
    names = listed(talosctl)
    assert len(names) >= 9
    assert all("/" in name and ":" in name for name in names), "nothing but images"
    tags = {name.rpartition(":")[2] for name in names if "kube-apiserver" in name or "let:" in name}
    assert len(tags) == 1, "the kubelet and the API server are of one version"
    (own,) = tags
    changed = with_kubernetes(names, "v1.33.9")
    assert with_kubernetes(changed, own) == names
    assert sum(name.endswith(":v1.33.9") for name in changed) == 5


@each_family
def test_another_kubernetes_is_the_same_list_that_talosctl_makes(talosctl):
    said = talosctl("image", "k8s-bundle", "--k8s-version", "v1.35.1", check=False)
    if talosctl.version.release < (1, 13):
        assert "unknown flag: --k8s-version" in said
    else:
        assert said.split() == with_kubernetes(listed(talosctl), "v1.35.1")


def generated(talosctl, tmp_path, *more, node="v1.11.0"):
    """The machine config of a control plane, as the documents in it."""
    talosctl(
        *("gen", "config", "dev", "https://10.5.0.2:6443", "--output", str(tmp_path / "out")),
        *("--with-docs=false", "--with-examples=false", "--talos-version", node, "--force", *more),
    )
    return list(yaml.safe_load_all((tmp_path / "out" / "controlplane.yaml").read_text()))


def is_valid(talosctl, tmp_path):
    for kind in ("controlplane", "worker"):
        for mode in ("container", "metal"):
            path = str(tmp_path / "out" / f"{kind}.yaml")
            assert "is valid for" in talosctl("validate", "--config", path, "--mode", mode)


def test_flags_and_the_patch_in_the_old_format_make_a_valid_config(talosctl, tmp_path):
    """A node of 1.11, also with a newer talosctl."""
    entries = mirrors_of(UPSTREAMS)
    patch = tmp_path / "patch.yaml"
    patch.write_text(legacy_patch([entry for entry in entries if not entry.is_plain]))
    flags = [f"--registry-mirror={value}" for value in ("docker.io=http://172.17.0.1:5000",)]
    config = generated(talosctl, tmp_path, *flags, "--config-patch", f"@{patch}")
    made = config[0]["machine"]["registries"]["mirrors"]
    assert made == {
        "docker.io": {"endpoints": ["http://172.17.0.1:5000"]},
        "ghcr.io": {"endpoints": ["http://172.17.0.1:5004"], "skipFallback": True},
        "registry.k8s.io": {"endpoints": ["http://172.17.0.1:5001/v2"], "overridePath": True},
    }
    is_valid(talosctl, tmp_path)


def test_flags_and_the_patch_in_documents_make_a_valid_config(talosctl, tmp_path):
    entries = mirrors_of(UPSTREAMS)
    patch = tmp_path / "patch.yaml"
    patch.write_text(documents_patch([entry for entry in entries if not entry.is_plain]))
    arguments = (
        "--registry-mirror=docker.io=http://172.17.0.1:5000",
        "--config-patch",
        f"@{patch}",
    )
    if not talosctl.version.reads_documents:
        with pytest.raises(AssertionError, match=r"not registered|RegistryMirrorConfig"):
            generated(talosctl, tmp_path, *arguments)
        return
    config = generated(talosctl, tmp_path, *arguments, node=f"v1.{talosctl.version.minor}.0")
    made = {doc["name"]: doc for doc in config if doc.get("kind") == "RegistryMirrorConfig"}
    assert set(made) == set(UPSTREAMS), "each registry stands once"
    assert made["docker.io"]["endpoints"] == [{"url": "http://172.17.0.1:5000"}]
    assert made["ghcr.io"]["skipFallback"] is True
    assert made["registry.k8s.io"]["endpoints"][0]["overridePath"] is True
    is_valid(talosctl, tmp_path)


PRIVATE = {
    "upstreams": {
        "docker.io": {"backend": "harbor"},
        "quay.io": {"remoteUrl": "https://harbor.example.com", "pathPrefix": "proxy-quay.io"},
        "ghcr.io": {},
    },
    "cache": {"tls": True},
    "cacheLogin": {"username": "nodes", "password": "hunter2"},
    "harbor": {"url": "https://harbor.example.com", "ca": "@ca.pem"},
    "harborLogin": {"username": "robot$nodes", "password": "hunter3"},
}


def private_mirrors(tmp_path):
    """With a CA for the caches and one for Harbor, and a login for each."""
    chosen = parse(PRIVATE)
    authority = Authority(tmp_path / "authority")
    made = ServerCertificate(certificate="-", key="-", ca=authority.pem)
    where = addressing.resolve(chosen, "172.17.0.1")
    plans = cache_plan.build(chosen, where, {}, made)
    behind = from_settings.mirrors(chosen, {"ca.pem": authority.pem}, None)
    return mirrors.in_order((*mirrors.build(plans), *behind))


@each_family
def test_tls_and_logins_make_a_valid_config_in_every_format_that_is_read(talosctl, tmp_path):
    entries = private_mirrors(tmp_path)
    endpoints = {"harbor.example.com", "172.17.0.1:5002", "172.17.0.1:5004"}
    old = applied(talosctl, tmp_path / "old", legacy_patch(entries), node="v1.11.0")
    configs = old[0]["machine"]["registries"]["config"]
    assert set(configs) == endpoints
    assert all({"tls", "auth"} <= set(entry) for entry in configs.values())
    assert configs["harbor.example.com"]["auth"]["username"] == "robot$nodes"
    if talosctl.version.reads_documents:
        node = f"v1.{talosctl.version.minor}.0"
        new = applied(talosctl, tmp_path / "new", documents_patch(entries), node=node)
        for kind in ("RegistryAuthConfig", "RegistryTLSConfig"):
            assert {doc["name"] for doc in new if doc.get("kind") == kind} == endpoints


def applied(talosctl, folder, text, *, node):
    """The config that a patch makes, after talosctl has found it valid."""
    folder.mkdir()
    patch = folder / "patch.yaml"
    patch.write_text(text)
    config = generated(talosctl, folder, "--config-patch", f"@{patch}", node=node)
    is_valid(talosctl, folder)
    return config


@each_family
def test_no_argument_holds_a_login(talosctl, tmp_path):
    cluster = parse({"cluster": {}}).clusters[0]
    where = place(talosctl, tmp_path)
    argv = create_argv(cluster, private_mirrors(tmp_path), talosctl.version, where)
    assert "hunter" not in " ".join(argv)
    assert "robot$nodes" not in " ".join(argv)


@each_family
def test_a_registry_in_both_would_have_its_endpoints_joined(talosctl, tmp_path):
    """Why a registry is never given twice: the reason for a rule of the plan, seen."""
    patch = tmp_path / "patch.yaml"
    patch.write_text(legacy_patch(mirrors_of({"docker.io": {}})))
    flag = "--registry-mirror=docker.io=http://172.17.0.1:5000"
    config = generated(talosctl, tmp_path, flag, "--config-patch", f"@{patch}")
    endpoints = config[0]["machine"]["registries"]["mirrors"]["docker.io"]["endpoints"]
    assert endpoints == ["http://172.17.0.1:5000"] * 2


NOBODY_THERE = "127.0.0.1:1"


@pytest.fixture
def access(talosctl, tmp_path):
    """A talosconfig that leads to where nobody answers, and a patch."""
    generated(talosctl, tmp_path)
    path = tmp_path / "out" / "talosconfig"
    config = yaml.safe_load(path.read_text())
    config["contexts"]["dev"]["endpoints"] = [NOBODY_THERE]
    path.write_text(yaml.safe_dump(config))
    patch = tmp_path / "patch.yaml"
    patch.write_text("machine: {env: {A: b}}\n")
    where = place(talosctl, tmp_path, (("all", str(patch)), ("all", str(patch))))
    return replace(where, talosconfig=str(path))


def lines_to_a_node(where):
    for mode in ("no-reboot", "auto", "reboot"):
        yield patch_argv(where, "10.5.0.2", mode)
    yield read_config_argv(where, "10.5.0.2")
    yield boot_argv(where, "10.5.0.2")
    yield service_argv(where, "10.5.0.2", "etcd")
    yield shlex.split(patch_line(where, "10.5.0.2", ["machine: {env: {A: b}}"]))
    for namespace in ("system", "cri"):
        nodes = ("10.5.0.2", "10.5.0.3")
        yield nodes_images_argv(where.program, where.talosconfig, nodes, namespace)


def test_every_line_to_a_live_node_is_taken(talosctl, access):
    for argv in lines_to_a_node(access):
        said = talosctl(*argv[1:], check=False)
        assert NOBODY_THERE in said, f"{argv}: {said}"
        assert "connection refused" in said, f"{argv}: {said}"


@each_family
def test_a_mode_that_there_is_not_would_be_seen(talosctl, access):
    said = talosctl(*patch_argv(access, "10.5.0.2", "nonsense")[1:], check=False)
    assert "nonsense" in said
    assert NOBODY_THERE not in said


FOREIGN = "http://10.0.0.9:5000"
MOVED, GONE, NEW = "docker.io", "ghcr.io", "quay.io"


def entries(config, *, documents):
    """Host -> URLs of its endpoints, in order, and whether the upstream is left out."""
    found = (
        mirror_updates.document_entries(config)
        if documents
        else mirror_updates.legacy_entries(config)
    )
    return {
        host: (
            [mirror_updates.endpoint_url(endpoint) for endpoint in entry["endpoints"]],
            entry.get("skipFallback", False),
        )
        for host, entry in found.items()
    }


def patched(talosctl, tmp_path, texts):
    """The control plane's config once talosctl has merged the patches into it, in order."""
    path = tmp_path / "out" / "controlplane.yaml"
    flags = []
    for index, text in enumerate(texts):
        patch = tmp_path / f"live-{index}.yaml"
        patch.write_text(text)
        flags += ["--patch", f"@{patch}"]
    talosctl("machineconfig", "patch", str(path), *flags, "--output", str(path))
    return list(yaml.safe_load_all(path.read_text()))


@each_family
def test_what_an_update_sends_is_merged_as_the_plan_says(talosctl, tmp_path):
    """The merge that the plan's tests have a double of, done by talosctl: nothing stands twice."""
    check_update(talosctl, tmp_path, documents=False)
    if talosctl.version.reads_documents:
        check_update(talosctl, tmp_path, documents=True)


def check_update(talosctl, tmp_path, *, documents):
    """A cache that moved, one that is gone, and a new one, beside what somebody set by hand."""
    flags = [f"--registry-mirror={host}=http://172.17.0.1:5000" for host in (MOVED, GONE)]
    node = f"v1.{talosctl.version.minor}.0" if documents else "v1.11.0"
    generated(talosctl, tmp_path, *flags, node=node)
    render = documents_patch if documents else legacy_patch
    by_hand = [Mirror(host=MOVED, url=FOREIGN), Mirror(host="gcr.io", url=FOREIGN)]
    config = patched(talosctl, tmp_path, [render(by_hand)])
    old = ["http://172.17.0.1:5000"]
    assert entries(config, documents=documents) == {
        MOVED: ([*old, FOREIGN], False),
        GONE: (old, False),
        "gcr.io": ([FOREIGN], False),
    }
    wanted = [
        Mirror(host=MOVED, url="http://172.17.0.1:6000"),
        Mirror(host=NEW, url="http://172.17.0.1:6002", skip_fallback=True),
    ]
    applied = {MOVED: set(old), GONE: set(old)}
    made = mirror_updates.patches(config, wanted, applied, documents=documents)
    assert len(made) == 2, "one patch deletes, the other sets"
    config = patched(talosctl, tmp_path, made)
    assert entries(config, documents=documents) == {
        MOVED: (["http://172.17.0.1:6000", FOREIGN], False),
        NEW: (["http://172.17.0.1:6002"], True),
        "gcr.io": ([FOREIGN], False),
    }
    assert mirror_updates.patches(config, wanted, applied, documents=documents) == ()
    # As `get` shows it: no deletion has become a document of its own.
    assert "$patch" not in (tmp_path / "out" / "controlplane.yaml").read_text()
    path = str(tmp_path / "out" / "controlplane.yaml")
    assert "is valid for" in talosctl("validate", "--config", path, "--mode", "container")
