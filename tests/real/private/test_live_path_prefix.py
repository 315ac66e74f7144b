"""A laptop's caches whose upstream keeps its images below a path, as a team's Harbor does."""

import json

import pytest
import yaml

from demo import images
from demo.client import pull
from tests.real.caches.conftest import PREFIX
from tests.real.caches.containerd import ctr, hosts_dir, running
from tests.upstream_log import bytes_sent

STACK = "laptop"
NAME = f"{PREFIX}-{STACK}"
PORT = 15185
PROJECT = "proxy-docker.io"
# As nodes name it, and as the upstream does.
PLAIN = images.single("docker.io", "library/behind", "1", b"below a path\n" * 5000)
BELOW = images.single("docker.io", f"{PROJECT}/library/behind", "1", b"below a path\n" * 5000)


@pytest.fixture(scope="module")
def up(checkout, embedded_upstream):
    embedded_upstream.push(BELOW)
    checkout.write_stack(
        STACK,
        prefix=NAME,
        basePort=PORT,
        upstreams={"docker.io": {"remoteUrl": embedded_upstream.url, "pathPrefix": PROJECT}},
        cache={"onDestroy": "delete"},
    )
    checkout.make("up", STACK)
    (checkout.path / "images.txt").write_text(f"{PLAIN.reference}\n")
    return checkout


def documents(checkout):
    shown = checkout.pulumi("stack", "output", "--json", stack=STACK).stdout
    return list(yaml.safe_load_all(json.loads(shown)["machineConfigPatch"]))


def test_warm_and_verify_go_by_the_names_of_the_nodes(up):
    before = up.ops("verify", STACK, "--images", "images.txt")
    assert before.returncode == 1
    warmed = up.ops("warm", STACK, "--images", "images.txt", check=True)
    assert "1 fetched" in warmed.stdout
    assert "1 of 1 images are complete" in up.ops("verify", STACK, "--deep", check=True).stdout
    assert PLAIN.reference in up.ops("verify", STACK, "--json", check=True).stdout


def test_containerd_pulls_by_the_plain_name_and_the_upstream_sends_nothing_twice(
    up, embedded_upstream, tmp_path
):
    [mirror] = documents(up)
    [endpoint] = mirror["endpoints"]
    assert endpoint["url"].endswith(f":{PORT}/v2/{PROJECT}")
    assert endpoint["overridePath"]
    hosts = hosts_dir(tmp_path / "hosts", [("docker.io", endpoint["url"], True)])
    sent = bytes_sent(embedded_upstream)
    with running(tmp_path) as address:
        ctr(address, "images", "pull", "--hosts-dir", hosts, PLAIN.reference)
        listed = ctr(address, "images", "ls", "-q").stdout.split()
    assert listed == [PLAIN.reference]
    assert bytes_sent(embedded_upstream) - sent < 2000, "manifests are asked for, layers are not"


def test_what_is_exported_can_be_imported_where_there_is_no_prefix(up, embedded_upstream):
    up.ops("export", STACK, "kit.tar.zst", check=True)
    plain = "plain"
    up.write_stack(
        plain,
        prefix=f"{PREFIX}-{plain}",
        basePort=PORT + 100,
        offline=True,
        upstreams={"docker.io": {"remoteUrl": embedded_upstream.url}},
        cache={"onDestroy": "delete"},
    )
    up.ops("import", plain, "kit.tar.zst", check=True)
    up.make("up", plain)
    pull(f"http://127.0.0.1:{PORT + 100}", PLAIN, by_digest=False)


def test_prune_pins_by_the_names_of_the_nodes(up):
    shown = up.ops("prune", STACK, "--to", "0B", "--keep", "images.txt", "--json")
    decided = json.loads(shown.stdout)
    assert decided["pinnedSets"][0]["size"] > 0, "the set has found its image in the volume"
