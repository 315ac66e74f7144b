"""Which passphrase encrypts a stack's secrets, and where it is.

The stacks that come with the project have their salt in the committed file, so their passphrase is
the same for everybody: public, and they hold no secrets. Every other stack uses this checkout's
own, made at random. docs/adr/0005 says why.
"""

import secrets
from pathlib import Path

from plan.settings import PUBLIC_STACKS
from toolchain.paths import PRIVATE, private_folder

PUBLIC_PASSPHRASE = "talos-cache"  # noqa: S105 - public on purpose, see above


def passphrase_file(stack: str) -> Path:
    """The file with the passphrase of this stack, made if it is not there yet (0600)."""
    public = stack in PUBLIC_STACKS
    path = private_folder(PRIVATE) / ("passphrase-public" if public else "passphrase")
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(PUBLIC_PASSPHRASE if public else secrets.token_urlsafe(32))
    return path
