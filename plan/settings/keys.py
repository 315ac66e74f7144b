"""Every key that a stack file may have, with its default."""

from plan.settings.credentials import (
    LOGINS,
)
from plan.settings.nodes import AUTO
from plan.settings.upstreams import (
    LOCAL,
)
from plan.upstreams import DEFAULT_BASE_PORT

DOCKER_BRIDGE = "docker-bridge"
QEMU_BRIDGE = "qemu-bridge"
ON_DESTROY = ("keep", "delete")
REQUIRED = object()
# Every key that a stack file may have, with its default; the documentation tests compare
# Pulumi.yaml, Pulumi.example.yaml and the README with this table. `<host>` stands for any upstream
# registry. None: absent unless given.
DEFAULTS: dict[str, object] = {
    "backend": LOCAL,
    "addressing": DOCKER_BRIDGE,
    "bindAddresses": (),
    "exposeToLan": False,
    "prefix": "registry",
    "basePort": DEFAULT_BASE_PORT,
    "offline": False,
    "cache.image": "registry:3.1.2",
    "cache.ttl": "0",
    "cache.onDestroy": "keep",
    "cache.waitSeconds": 60,
    "cache.tls": False,
    "cache.certificate": None,
    "cache.key": None,
    "cache.ca": None,
    "upstreamProxy.url": REQUIRED,
    "upstreamProxy.noProxy": (),
    "upstreams.<host>.remoteUrl": None,
    "upstreams.<host>.port": None,
    "upstreams.<host>.skipFallback": False,
    "upstreams.<host>.overridePath": False,
    "upstreams.<host>.pathPrefix": None,
    "upstreams.<host>.ca": None,
    "upstreams.<host>.credentialsFrom": None,
    "upstreams.<host>.backend": None,
    "cluster.provisioner": "docker",
    "cluster.name": "talos-default",
    "cluster.controlPlanes": 1,
    "cluster.workers": 1,
    "cluster.cidr": "10.5.0.0/24",
    "cluster.talosVersion": None,
    "cluster.kubernetesVersion": None,
    "cluster.image": None,
    "cluster.schematic": None,
    "cluster.presets": (),
    "cluster.controlPlaneCpus": 2,
    "cluster.controlPlaneMemory": "2GiB",
    "cluster.workerCpus": 2,
    "cluster.workerMemory": "2GiB",
    "cluster.disks": (),
    "cluster.exposedPorts": (),
    "cluster.patches": (),
    "cluster.controlPlanePatches": (),
    "cluster.workerPatches": (),
    "cluster.talosctlVersion": AUTO,
    "cluster.createTimeout": "25m",
    "cluster.wait": True,
    "cluster.warm": False,
    "cluster.mergeKubeconfig": False,
    "cluster.allowReboot": False,
    "harbor.url": REQUIRED,
    "harbor.ca": None,
    "harbor.projectPrefix": "proxy-",
    "harbor.public": True,
    "harbor.retentionDays": None,
    "harbor.quota": None,
    "harbor.robot": None,
    "credentials.<host>.username": REQUIRED,
    "credentials.<host>.password": REQUIRED,
    **{f"{login}.{name}": REQUIRED for login in LOGINS for name in ("username", "password")},
}
# Top-level keys whose value is text: the others reach the program as JSON.
TEXT_KEYS = frozenset({"addressing", "backend", "prefix"})
