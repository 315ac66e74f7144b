"""Changes files in a cache's volume as a sick disk would, behind the registry's back."""

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
    status, said = client.containers.get(container).exec_run(["sh", "-c", script])
    assert status == 0, said.decode()
    return said.decode()
