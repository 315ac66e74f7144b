"""Why the engine says "incorrect passphrase", and what to do: checked only after it has failed.

The salt in a stack file contains a known word, encrypted as the engine encrypts every secret
(pulumi/sdk, go/common/resource/config/crypt.go), so a passphrase can be tried without the engine.
"""

import base64
import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from host import installed, passphrases
from host.passphrases import ASIDE, PASSPHRASE, PASSPHRASE_FILE, PUBLIC_PASSPHRASE
from host.paths import PRIVATE

ITERATIONS = 1_000_000
KEY_BYTES = 32
KNOWN_WORD = b"pulumi"


def advice(stack: str) -> str | None:
    """What to do if the passphrase in use is not the stack's; None if it is, or none is in use."""
    file = passphrases.stack_file(stack)
    salt = passphrases.salt_of(file)
    where, passphrase = _in_use()
    if not salt or passphrase is None or opens(salt, passphrase):
        return None
    name = file.relative_to(file.parent.parent)
    return f"{where} is not the passphrase that {name} is encrypted with. {_way_out(stack, salt)}"


def opens(salt: str, passphrase: str) -> bool:
    """Whether a passphrase is the one that a salt was made with; true for a salt of another kind.

    Args:
        salt: as in a stack file: "v1:SALT:v1:NONCE:TEXT".
        passphrase: to try.
    """
    parts = salt.split(":")
    if len(parts) != 5 or (parts[0], parts[2]) != ("v1", "v1"):
        return True
    try:
        seed, nonce, text = (base64.b64decode(parts[index]) for index in (1, 3, 4))
        key = hashlib.pbkdf2_hmac("sha256", passphrase.encode(), seed, ITERATIONS, KEY_BYTES)
        return AESGCM(key).decrypt(nonce, text, None) == KNOWN_WORD
    except InvalidTag:
        return False
    except ValueError:  # truncated or mistyped: the engine has reported that
        return True


def _in_use() -> tuple[str, str | None]:
    """Where the engine gets its passphrase from, and the passphrase; None if it has none."""
    if PASSPHRASE in os.environ:
        return f"your {PASSPHRASE}", os.environ[PASSPHRASE]
    file = os.environ.get(PASSPHRASE_FILE, "")
    return f"the content of {file}", _read(Path(file)) if file else None


def _aside() -> tuple[str | None, str | None]:
    """What the user had set before this shell was set up for a public stack."""
    file = os.environ.get(ASIDE[PASSPHRASE_FILE], "")
    return os.environ.get(ASIDE[PASSPHRASE]), _read(Path(file)) if file else None


def _read(file: Path) -> str | None:
    try:
        return file.read_text().strip()  # as the engine does
    except (OSError, UnicodeDecodeError):
        return None


def _way_out(stack: str, salt: str) -> str:
    again = f"{installed.set_up_line(stack)}, and run this again"
    if any(earlier is not None and opens(salt, earlier) for earlier in _aside()):
        return f"The one that you had set before is right, and this shell has kept it: {again}."
    own = PRIVATE / passphrases.OWN
    mine = _read(own)
    if mine is not None and opens(salt, mine):
        names = " ".join([*ASIDE, *ASIDE.values()])
        return f"The one in {own} is right: unset {names}, then {again}."
    if opens(salt, PUBLIC_PASSPHRASE):
        return f"The public one is right: set {PASSPHRASE}={PUBLIC_PASSPHRASE}."
    return (
        f"Put the right one into {own} (it was in the same place in the checkout where the stack "
        f"was created), or set {PASSPHRASE} to it. If it is lost, so are the secrets of this "
        f"stack: run pulumi stack rm --force --preserve-config {stack}, remove 'encryptionsalt' "
        "and every 'secure:' from the file, set the secrets again, and take over the caches: "
        f"make adopt STACK={stack}"
    )
