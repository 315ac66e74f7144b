"""Which images a command is for."""

import argparse

import pytest

from ops.cluster.folder import folder_of
from ops.commands import arguments, image_selection
from ops.commands.image_selection import ImageSelection
from ops.errors import OpsError
from ops.stack import stack_files
from plan.problems import ImageListError, SettingsError
from plan.settings.stack import parse

HOSTS = {"docker.io", "ghcr.io", "registry.k8s.io"}
# Lines of what the real ones print (`image default`, `image k8s-bundle`).
LISTS = {
    "1.11.5": """\
gcr.io/etcd-development/etcd:v3.6.5
ghcr.io/siderolabs/kubelet:v1.34.1
ghcr.io/siderolabs/installer:v1.11.5
registry.k8s.io/pause:3.10
""",
    "1.13.0": """\
registry.k8s.io/etcd:v3.6.9
registry.k8s.io/kube-proxy:v1.36.0
ghcr.io/siderolabs/kubelet:v1.36.0
""",
}
ON_NODES = """\
NODE       IMAGE                                         DIGEST        SIZE     LABELS   CREATED
10.5.0.2   ghcr.io/siderolabs/kubelet:v1.36.0            sha256:0123   311 kB            now
10.5.0.2   ghcr.io/siderolabs/kubelet@sha256:0123        sha256:0123   311 kB            now
"""


@pytest.fixture
def talosctl(tmp_path, monkeypatch):
    """A double of talosctl that logs its arguments; tests/real/talos has real ones.

    Args of what it returns: a version, and what `image list` prints in the namespace system.
    """

    def put(version, on_nodes=ON_NODES, status=0):
        program = tmp_path / "bin" / "talosctl"
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            f"""#!/bin/sh
echo "$*" >> {tmp_path}/asked
case "$*" in
  version*) echo "Talos v{version}";;
  "image default" | "image k8s-bundle") printf '%s' '{LISTS[version]}';;
  *"--namespace system") printf '%s' '{on_nodes}'; echo "from node: away" >&2; exit {status};;
  *"--namespace cri") ;;
  *) echo "unknown: $*" >&2; exit 1;;
esac
"""
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")

    put.asked = lambda: (tmp_path / "asked").read_text().splitlines()
    return put


def named(*options, cluster=None, stack="mine"):
    parser = argparse.ArgumentParser()
    image_selection.add_arguments(parser)
    selection = arguments.read(ImageSelection, parser.parse_args(options))
    settings = parse({"cluster": cluster} if cluster is not None else {})
    found = image_selection.named(selection, stack, HOSTS, settings)
    return [str(image) for image in found]


def test_without_options_there_is_nothing():
    assert named() == []


def test_lists_are_joined_without_duplicates(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("docker.io/busybox:1\nghcr.io/a/b:2\n")
    two.write_text("ghcr.io/a/b:2\nghcr.io/a/c:3\n")
    listed = ["docker.io/library/busybox:1", "ghcr.io/a/b:2", "ghcr.io/a/c:3"]
    assert named("--images", str(one), "--images", str(two)) == listed


def test_in_a_users_list_an_image_without_a_cache_is_a_mistake(tmp_path):
    file = tmp_path / "list"
    file.write_text("quay.io/a/b:1\n")
    with pytest.raises(ImageListError, match=r"only for docker\.io, ghcr\.io"):
        named("--images", str(file))


def test_in_talosctls_list_it_is_left_out_and_reported(talosctl, capsys):
    talosctl("1.11.5")
    assert named("--talos", "v1.11.2") == [
        "ghcr.io/siderolabs/kubelet:v1.34.1",
        "ghcr.io/siderolabs/installer:v1.11.5",
        "registry.k8s.io/pause:3.10",
    ]
    assert "gcr.io/etcd-development/etcd:v3.6.5" in capsys.readouterr().err


def test_talosctl_of_another_release_is_not_asked(talosctl):
    talosctl("1.13.0")
    with pytest.raises(OpsError, match=r"only talosctl 1\.12 .*v1\.12\.0"):
        named("--talos", "v1.12.0")


def test_without_talosctl_that_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OpsError, match="not on PATH"):
        named("--talos", "v1.13.0")


def test_another_kubernetes_needs_no_talosctl_that_has_a_flag_for_it(talosctl):
    talosctl("1.11.5")
    assert "ghcr.io/siderolabs/kubelet:v1.33.1" in named(
        "--talos", "v1.11.5", "--kubernetes", "1.33.1"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--kubernetes", "v1.36.0"), "add --talos VERSION"),
        (("--talos", "v1.13.0", "--kubernetes", "new"), "--kubernetes: 'new' is not a version"),
        (("--cluster", "other"), "no cluster 'other'; its clusters: dev"),
        (("--nodes", "other"), "no cluster 'other'; its clusters: dev"),
        (("--nodes", "dev"), "'dev' is not up"),
    ],
)
def test_what_makes_no_sense_is_refused(talosctl, tmp_path, monkeypatch, options, said):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    talosctl("1.13.0")
    with pytest.raises(OpsError, match=said):
        named(*options, cluster={"name": "dev"})


def test_a_cluster_on_docker_needs_its_node_image_and_no_installer(talosctl):
    talosctl("1.11.5")
    assert named("--cluster", "dev", cluster={"name": "dev"}) == [
        "ghcr.io/siderolabs/talos:v1.11.5",
        "ghcr.io/siderolabs/kubelet:v1.34.1",
        "registry.k8s.io/pause:3.10",
    ]


def test_a_cluster_on_qemu_needs_its_installer(talosctl, capsys):
    talosctl("1.13.0")
    cluster = {"name": "dev", "provisioner": "qemu", "kubernetesVersion": "v1.35.2"}
    assert named("--cluster", "dev", cluster=cluster) == [
        "registry.k8s.io/etcd:v3.6.9",
        "registry.k8s.io/kube-proxy:v1.35.2",
        "ghcr.io/siderolabs/kubelet:v1.35.2",
    ]
    assert "factory.talos.dev/metal-installer/" in capsys.readouterr().err


def test_a_clusters_own_list_takes_the_place_of_talosctls(talosctl, tmp_path):
    talosctl("1.13.0")
    file = tmp_path / "images.txt"
    file.write_text("ghcr.io/a/b:1\n")
    listed = named("--cluster", "dev", cluster={"name": "dev", "warm": f"@{file}"})
    assert listed == ["ghcr.io/siderolabs/talos:v1.13.0", "ghcr.io/a/b:1"]


@pytest.fixture
def access(tmp_path, monkeypatch):
    """The talosconfig of a cluster that is up."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    file = folder_of("mine", "dev").talosconfig
    file.parent.mkdir(parents=True)
    file.touch()
    return file


def test_nodes_are_asked_in_both_namespaces_with_the_clusters_own_access(talosctl, access):
    talosctl("1.13.0")
    listed = named("--nodes", "dev", cluster={"name": "dev", "workers": 1})
    assert listed == ["ghcr.io/siderolabs/kubelet:v1.36.0"]
    line = f"--talosconfig {access} --nodes 10.5.0.2,10.5.0.3 image list --namespace"
    assert [asked for asked in talosctl.asked() if asked.startswith("--talosconfig")] == [
        f"{line} system",
        f"{line} cri",
    ]


def test_a_node_that_does_not_answer_is_reported(talosctl, access):
    talosctl("1.13.0", status=1)
    with pytest.raises(OpsError, match="from node: away"):
        named("--nodes", "dev", cluster={"name": "dev"})


def test_nodes_without_images_are_refused(talosctl, access):
    """For `verify` and `export` no list means everything."""
    talosctl("1.13.0", on_nodes="")
    with pytest.raises(OpsError, match=r"caches only for docker\.io"):
        named("--nodes", "dev", cluster={"name": "dev"})


def test_mistakes_in_a_clusters_list_are_mistakes_of_the_stack_file(tmp_path):
    file = tmp_path / "images.txt"
    file.write_text("ghcr.io/a/b:1\nghcr.io/a/c\nelsewhere.example/d:1\n")
    settings = parse({"cluster": {"warm": f"@{file}"}})
    with pytest.raises(SettingsError) as caught:
        stack_files.named_files(settings)
    said = str(caught.value)
    assert said.startswith("2 mistakes ")
    assert f"cluster.warm (@{file}, line 2)" in said
    assert f"cluster.warm (@{file}, line 3)" in said
    assert "elsewhere.example" in said
