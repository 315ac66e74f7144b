"""Pulls through a cache with skopeo, and compares what arrives with what was made, byte by byte."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from demo.images import Blob, Image
from host.errors import TalosCacheError

PULL_SECONDS = 60


class PullError(TalosCacheError):
    """A pull failed, or something else arrived than was made."""


def pull(endpoint: str, image: Image, *, by_digest: bool, options: Sequence[str] = ()) -> None:
    """Pull all of an image (every platform of an index) and check every byte.

    Args:
        endpoint: URL of the cache, and the path that stands before its repositories.
        image: what has to arrive.
        by_digest: whether to ask for the digest instead of the tag.
        options: more of skopeo's own.

    Raises:
        PullError: with skopeo's words, or with what differs.
    """
    wanted = f"@{image.digest}" if by_digest else f":{image.tag}"
    source = f"docker://{endpoint.partition('://')[2]}/{image.repository}{wanted}"
    with tempfile.TemporaryDirectory() as folder:
        copy = ("copy", "--all", "--src-tls-verify=false", *options)
        _run_skopeo(*copy, source, f"dir:{folder}")
        arrived = {Blob(path.read_bytes()).digest for path in Path(folder).iterdir()}
    made = {manifest.digest for manifest in image.manifests}
    made |= {blob.digest for blob in image.blobs}
    if missing := made - arrived:
        raise PullError(f"{source}: not byte for byte what was made: {', '.join(sorted(missing))}")


def _run_skopeo(*arguments: str) -> None:
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *arguments],
        capture_output=True,
        text=True,
        timeout=PULL_SECONDS,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise PullError(f"skopeo {' '.join(arguments)}: {done.stderr.strip()}")
