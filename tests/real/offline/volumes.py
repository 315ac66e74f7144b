"""Changes files in a cache's volume as a sick disk would, behind the registry's back.

A client has the last byte of a blob before the cache has stored it: they wait for the blob first.
"""

from ops.docker.api import execute
from plan.images.storage import ROOT, blob_path

FOLDER = f"/var/lib/registry/{ROOT}"


def damage(client, container, digest):
    """Another byte at the start; the size stays."""
    script = f"printf X | busybox dd of={path(digest)} conv=notrunc"
    in_container(client, container, once_stored(digest, script))


def cut_short(client, container, digest):
    in_container(client, container, once_stored(digest, f": > {path(digest)}"))


def once_stored(digest, script):
    """The same script, when the blob is there or has not come in half a minute."""
    waiting = f"[ -f {path(digest)} ] && break; busybox sleep 0.1"
    return f"for _ in $(busybox seq 300); do {waiting}; done; {script}"


def path(digest):
    return f"{FOLDER}/{blob_path(digest)}"


def in_container(client, container, script):
    """What a script prints; the `docker` package's own exec_run loses what is printed quickly."""
    started, printed = execute(client, container, ["sh", "-c", script])
    said = b"".join(some for _, some in printed).decode()
    status = client.api.exec_inspect(started)["ExitCode"]
    assert status == 0, said
    return said
