"""Stack files for the tests, and the whole way from one to its plan."""

import json
from dataclasses import dataclass

from host.paths import ROOT
from plan.caches import addressing, tls
from plan.caches.addressing import Addressing
from plan.caches.cache_plan import CachePlan
from plan.caches.tls import ServerCertificate
from plan.settings import config_keys
from plan.settings.stack import Settings, parse
from plan.stack import Facts, build
from plan.talos.cluster import ClusterPlan
from plan.talos.mirrors import Mirror

STACKS = ROOT / "tests/fixtures/stacks"
VALID = sorted((STACKS / "valid").glob("*.yaml"))
INVALID = sorted((STACKS / "invalid").glob("*.yaml"))
GATEWAY = "172.17.0.1"
# The patch files of the tests' stacks; any other one contains ANY_PATCH.
PATCH_FILES = {
    str(path.relative_to(STACKS)): path.read_text() for path in (STACKS / "patches").iterdir()
}
ANY_PATCH = "machine: {type: worker}"
ANY_LIST = "ghcr.io/siderolabs/kubelet:v1.36.0"
ROBOT_SECRET = "R0botSecret"
# Keys with which the mirrors of a stack have a CA and a login.
SECRETS_OF_MIRRORS = {
    "cache": {"tls": True},
    "cacheLogin": {"username": "alice", "password": "hunter2"},
}

# Names of a stack's outputs, and of those that clusters add: scripts rely on them.
OUTPUTS = {
    "caches",
    "endpoints",
    "localEndpoints",
    "machineConfigPatch",
    "legacyMachineConfigPatch",
    "talosctlCommand",
}
OF_CLUSTERS = {"clusters", "talosconfig", "kubeconfig"}


@dataclass(frozen=True)
class Planned:
    """Everything that the pure part of the program makes of a stack file."""

    settings: Settings
    where: Addressing
    caches: tuple[CachePlan, ...]
    mirrors: tuple[Mirror, ...]
    clusters: tuple[ClusterPlan, ...]
    outputs: dict

    def cache(self, host):
        return next(plan for plan in self.caches if plan.host == host)


def config_of(path):
    """A stack file's configuration, as `parse` wants it."""
    return config_keys.in_file(path.read_bytes())


def as_the_engine_hands_it_over(config):
    """Every value is text: text as it is, the rest as JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()
    }


def patch_files(settings):
    """The contents of the stack's patch files and image lists."""
    patches = [patch for each in settings.clusters for patch in each.patches]
    lists = {each.warm_file: ANY_LIST for each in settings.clusters if each.warm_file}
    return lists | {p.file: PATCH_FILES.get(p.file, ANY_PATCH) for p in patches if p.file}


def pem(name):
    """Text that looks enough like a certificate for `plan`."""
    return f"-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n"


def certificate_texts(settings):
    """The contents of the certificate and key files."""
    texts = {path: pem(path) for path in tls.files(settings)}
    key = settings.cache.key_file
    return texts | {key: f"the secret key in {key}"} if key else texts


# What a stack without a certificate generates.
MADE = ServerCertificate(
    certificate=pem("made here"), key="a secret key made here", ca=pem("the stack's own CA")
)


def server_certificate(settings):
    """The caches' certificate; None without TLS."""
    configured = tls.given(settings, certificate_texts(settings))
    return configured or (MADE if settings.cache.tls else None)


def planned(config):
    """The program's way through `plan`, with the address that Docker's bridge usually has."""
    settings = parse(config)
    plan = build("dev", settings, facts_for(settings))
    where = addressing.resolve(settings, GATEWAY)
    return Planned(settings, where, plan.caches, plan.mirrors, plan.clusters, plan.outputs)


def facts_for(settings):
    """What the program would know of the machine: every file exists, all secrets are generated."""
    return Facts(
        identity="dev-0123456789ab",
        files=certificate_texts(settings) | patch_files(settings),
        bridge_gateway=GATEWAY,
        certificate=server_certificate(settings),
        robot_secret=ROBOT_SECRET,
    )


def planned_file(name):
    return planned(config_of(STACKS / "valid" / f"{name}.yaml"))


def cluster_plan(settings, **config):
    """The plan of a stack's one cluster."""
    return planned({"cluster": settings, **config}).clusters[0]


def cluster_settings(**keys):
    """A cluster's settings, with defaults for the keys left out."""
    return parse({"cluster": keys}).clusters[0]
