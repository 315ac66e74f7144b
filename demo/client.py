"""Pulls through a cache with skopeo, and compares the result with the original, byte by byte."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from demo.images import Blob, Image
from host.errors import TalosCacheError

PULL_SECONDS = 60


class PullError(TalosCacheError):
    """A pull failed, or its content differs from the original."""


def pull(endpoint: str, image: Image, *, by_digest: bool, options: Sequence[str] = ()) -> None:
    """Pull all of an image (every platform of an index) and check every byte.

    Args:
        endpoint: URL of the cache, with the path prefix of its repositories.
        image: the expected image.
        by_digest: whether to pull by digest instead of by tag.
        options: more of skopeo's own.

    Raises:
        PullError: with skopeo's message, or with what differs.
    """
    reference = f"@{image.digest}" if by_digest else f":{image.tag}"
    source = f"docker://{endpoint.partition('://')[2]}/{image.repository}{reference}"
    with tempfile.TemporaryDirectory() as folder:
        copy = ("copy", "--all", "--src-tls-verify=false", *options)
        _run_skopeo(*copy, source, f"dir:{folder}")
        arrived = {Blob(path.read_bytes()).digest for path in Path(folder).iterdir()}
    expected = {manifest.digest for manifest in image.manifests}
    expected |= {blob.digest for blob in image.blobs}
    if missing := expected - arrived:
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
