"""What the tests of clusters on QEMU share; they need no QEMU."""

import os
import subprocess
from contextlib import contextmanager

import pytest

from ops.cluster import qemu_provisioner
from ops.cluster.folder import owner_of
from ops.cluster.provisioner import Cluster
from plan.settings.stack import parse
from plan.talos import cluster

STACK = "unit"
# Bridges and rules are named after the cluster: no two workers share a name.
NAME = f"tq{os.getpid()}"
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes interfaces, or gives files away")


def plan_of(**keys):
    settings = parse({"cluster": {"provisioner": "qemu", "name": NAME, "workers": 1, **keys}})
    return cluster.build(STACK, settings.clusters, [], [], {})[0]


def cluster_in(folder):
    return Cluster(plan_of(), folder, owner_of(STACK))


def remove_by_hand(folder):
    qemu_provisioner.remove_by_hand(cluster_in(folder))


def is_alive(process):
    return process.poll() is None


@contextmanager
def interface(name, address=None):
    """A bridge of this machine, perhaps with an address; a test may delete it."""
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    try:
        if address:
            subprocess.run(["ip", "address", "add", address, "dev", name], check=True)
        yield name
    finally:
        subprocess.run(["ip", "link", "delete", name], stderr=subprocess.DEVNULL)


def give_to_user(place, but=()):
    """Give everything there to the user, except some paths and what is below them."""
    for path in (place, *place.rglob("*")):
        if not any(path == kept or kept in path.parents for kept in but):
            os.chown(path, NOBODY, NOBODY)


@contextmanager
def unprivileged():
    """Within it the process is an unprivileged user's; a shell that it starts is root's again."""
    if os.geteuid() == 0:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(os.getuid())
        os.setegid(os.getgid())
