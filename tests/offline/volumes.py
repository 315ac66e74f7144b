"""Changes files in a cache's volume as a sick disk would, behind the registry's back."""

from ops.docker_api import execute
from plan.store import ROOT, blob_path

FOLDER = f"/var/lib/registry/{ROOT}"


def damage(client, container, digest):
    """Another byte at the start; the size stays."""
    in_container(client, container, f"printf X | busybox dd of={path(digest)} conv=notrunc")


def cut_short(client, container, digest):
    in_container(client, container, f": > {path(digest)}")


def path(digest):
    return f"{FOLDER}/{blob_path(digest)}"


def in_container(client, container, script):
    """What a script prints; the `docker` package's own exec_run loses what is printed quickly."""
    started, printed = execute(client, container, ["sh", "-c", script])
    said = b"".join(some for _, some in printed).decode()
    status = client.api.exec_inspect(started)["ExitCode"]
    assert status == 0, said
    return said
