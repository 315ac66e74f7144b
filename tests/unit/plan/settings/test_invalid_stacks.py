"""Wrong stack files, each next to the whole message that its user reads."""

import pytest

from plan.problems import SettingsError
from plan.settings.stack import decode
from tests.unit.plan.shapes import INVALID, STACKS, as_the_engine_hands_it_over, config_of, planned

# Wrong file -> (what it contains, what its message says to write instead).
PROPOSED = {
    "addressing-misspelt": ("docker_bridge", "docker-bridge"),
    "backend-harbor-without-harbor": (
        "config:\n",
        'harbor: {url: "https://harbor.example.com"}',
    ),
    "backend-misspelt": ("habor", "harbor"),
    "bind-addresses-not-a-list": ("192.168.1.10", '["192.168.1.10"]'),
    "base-port-too-high": ("basePort: 65530", "basePort: 5000"),
    "ca-without-the-sign-of-a-file": ("certs/corporate-ca.pem", '"@certs/corporate-ca.pem"'),
    "certificate-without-tls": ("cache: {", "tls: true"),
    "certificate-without-key": ("cache: {", 'key: "@certs/cache.key"'),
    "cluster-as-text": ("docker", "{provisioner: docker}"),
    "cluster-disks-as-text": ("virtio:10GiB", '["virtio:10GiB"]'),
    "cluster-disks-of-an-unknown-driver": ('"sata:6GiB"', '"virtio:10GiB"'),
    "cluster-exposed-ports-with-a-bad-address": ('"127.0.0.300:8080:80/tcp"', '"8080:80/tcp"'),
    "cluster-exposed-ports-without-protocol": ('"8080:80"', '"8080:80/tcp"'),
    "cluster-image-without-registry": (
        "siderolabs/talos:v1.13.0",
        "ghcr.io/siderolabs/talos:v1.13.0",
    ),
    "cluster-memory-a-number": ("2048", "2048MiB"),
    "cluster-memory-too-small": ("256MiB", "2GiB"),
    "cluster-patches-as-text": (
        '"machine: {env: {PASSWORD: hunter2}}"',
        "[{machine: {network: {hostname: one}}}]",
    ),
    "cluster-presets-of-two-boots": ("[iso, pxe]", '["iso"]'),
    "cluster-presets-unknown": ("uki", '"iso"'),
    "cluster-talosctl-version-latest": ("latest", '"v1.13.0"'),
    "cluster-unknown-provisioner-with-keys-of-qemu": ("quemu", "qemu"),
    "clusters-on-the-bridge-of-the-first": ("qemu-bridge", "docker-bridge"),
    "cluster-cidr-with-host-bits": ("10.5.0.1/24", "10.5.0.0/24"),
    "credentials-from-misspelt": ("docker_config", "docker-config"),
    "harbor-nobody-uses": ("config:\n", "backend: harbor"),
    "harbor-project-prefix-with-capitals": ("Proxy-", "proxy-"),
    "harbor-quota-in-other-units": ("50GB", "50GiB"),
    "harbor-robot-on-public-projects": ("harbor: {", "public: false"),
    "harbor-robot-with-a-colon": ('"robot:talos"', "robot$talos-cache"),
    "harbor-url-with-a-path": (
        'url: "https://harbor.example.com/harbor/projects"',
        'url: "https://harbor.example.com"',
    ),
    "harbor-url-with-a-port-that-there-is-not": (
        'url: "https://harbor.example.com:70000"',
        'url: "https://harbor.example.com"',
    ),
    "harbor-without-url": ("harbor: {", 'url: "https://harbor.example.com"'),
    "key-twice-with-and-without-namespace": (
        "  talos-cache:prefix: two\n  talos-cache:config:prefix: three\n",
        "",
    ),
    "no-proxy-as-text": (
        '".corp.example.com,10.0.0.0/8"',
        '[".corp.example.com", "10.0.0.0/8"]',
    ),
    "path-prefix-a-number": ("42", '"42"'),
    "path-prefix-with-the-path-of-the-api": ("v2/proxy-docker.io", "proxy-docker.io"),
    "proxy-without-a-port": (
        'url: "http://proxy.example.com"',
        'url: "http://proxy.example.com:3128"',
    ),
    "proxy-without-url": ("upstreamProxy: {", 'url: "http://proxy.example.com:3128"'),
    "remote-url-missing-behind-harbor": (
        "registry.example.com: {",
        'remoteUrl: "https://registry.example.com"',
    ),
    "cluster-talos-version-a-number": ("1.13", '"v1.13.0"'),
    "cluster-kubernetes-version-latest": ("latest", '"v1.36.0"'),
    "cluster-merged-in-maintenance": ("    mergeKubeconfig: true\n", ""),
    "cluster-merged-without-waiting": ("    mergeKubeconfig: true\n", ""),
    "docker-io-as-in-its-config-file": ("https://index.docker.io/v1/", "docker.io"),
    "host-with-a-port-that-there-is-not": ("registry.lan:70000", "registry.lan"),
    "image-version-2": ("registry:2", "registry:3.1.2"),
    "port-missing-where-few-are-left": ("    registry.example.com:\n", "port: 1024"),
    "port-of-the-table-taken": ("port: 5002", "port: 5007"),
    "prefix-a-number": ("2024", '"2024"'),
    "remote-url-with-a-path": (
        "https://registry.example.com/v2/library",
        '"https://registry.example.com"',
    ),
    "ttl-in-days": ("ttl: 7 days", "ttl: 168h"),
}
SECRETS = ("hunter2", "hunter/2", "er2", "hunter3", "12345", "alice:", "bob:")


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_a_wrong_stack_file_gets_exactly_its_message(path):
    with pytest.raises(SettingsError) as caught:
        planned(config_of(path))
    message = str(caught.value)
    assert f"{message}\n" == path.with_suffix(".txt").read_text()
    assert not [secret for secret in SECRETS if secret in message]
    for problem in caught.value.problems:
        assert all((problem.path, problem.found, problem.rule, problem.fix)), "all four parts"


# Only the check of the file itself can report these: the engine hands over a number as text, for a
# value as for a key.
FIXED_BY_THE_ENGINE = {"prefix-a-number", "host-that-is-a-number"}


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_the_engine_hides_no_mistake(path):
    config = decode(as_the_engine_hands_it_over(config_of(path)))
    if path.stem in FIXED_BY_THE_ENGINE:
        assert planned(config).caches, "what arrives is what the user meant"
    else:
        with pytest.raises(SettingsError):
            planned(config)


@pytest.mark.parametrize("name", PROPOSED)
def test_doing_what_the_message_says_fixes_the_file(name, tmp_path):
    wrong, right = PROPOSED[name]
    message = (STACKS / "invalid" / f"{name}.txt").read_text()
    assert right in message.split("\n    fix:   ")[1], (
        "the fix that this test applies is the proposed one"
    )

    text = (STACKS / "invalid" / f"{name}.yaml").read_text()
    assert wrong in text, "the file has the mistake that its name says"
    if wrong == "config:\n":  # a key is missing at the top
        right = f"{wrong}  talos-cache:{right}\n"
    elif wrong.endswith(":\n"):  # something is missing below this key
        right = f"{wrong}      {right}\n"
    elif wrong.endswith(("{", ", ")):  # something is missing in this mapping
        right = f"{wrong}{right}, "
    fixed = tmp_path / "fixed.yaml"
    fixed.write_text(text.replace(wrong, right, 1))
    plan = planned(config_of(fixed))
    assert plan.caches or plan.settings.behind_harbor


def test_removing_what_belongs_to_the_other_provisioner_fixes_the_file():
    for name in ("cluster-docker-keys-on-qemu", "cluster-qemu-keys-on-docker"):
        config = config_of(STACKS / "invalid" / f"{name}.yaml")
        with pytest.raises(SettingsError) as caught:
            planned(config)
        for problem in caught.value.problems:
            assert problem.fix == "remove it"
            del config["cluster"][problem.path.removeprefix("cluster.")]
        assert planned(config).clusters


def test_clusters_on_one_network_are_proposed_different_ones():
    config = config_of(STACKS / "invalid" / "clusters-on-one-network.yaml")
    with pytest.raises(SettingsError) as caught:
        planned(config)
    for cluster, problem in zip(config["cluster"][1:], caught.value.problems, strict=True):
        _, cluster["cidr"], *_ = problem.fix.split()
    assert len(planned(config).clusters) == 3, "the same proposal twice would be the next mistake"


@pytest.mark.parametrize("name", ["clusters-with-mistakes-in-one", "clusters-that-are-names"])
def test_the_default_that_replaces_a_wrong_value_clashes_with_nothing(name):
    with pytest.raises(SettingsError) as caught:
        planned(config_of(STACKS / "invalid" / f"{name}.yaml"))
    found = [problem.found for problem in caught.value.problems]
    assert not {'"10.5.0.0/24"', '"talos-default"'} & set(found), "the user has not written these"


def test_several_missing_ports_are_proposed_different_ones():
    message = (STACKS / "invalid" / "ports-missing-twice.txt").read_text()
    assert "port: 5008" in message
    assert "port: 5009" in message, "the same proposal twice would be the next mistake"
    assert "port: 5007" not in message, "another upstream of the stack has 5007"


def test_every_wrong_file_has_its_message_and_every_message_its_file():
    stems = {path.stem for path in INVALID}
    assert stems == {path.stem for path in (STACKS / "invalid").glob("*.txt")}


def test_there_is_a_file_for_every_mistake_that_people_make():
    assert len(INVALID) >= 130, "the glob found (nearly) nothing: are the files where they were?"
