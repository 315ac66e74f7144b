"""Why the engine says "incorrect passphrase", and what to do: asked only after it has failed.

The salt in a stack's file holds a known word, encrypted as the engine encrypts every secret
(pulumi/sdk, go/common/resource/config/crypt.go): so a passphrase can be tried without the engine.
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
    where, given = _in_use()
    if not salt or given is None or opens(salt, given):
        return None
    name = file.relative_to(file.parent.parent)
    return f"{where} is not the passphrase that {name} is encrypted with. {_way_out(stack, salt)}"


def opens(salt: str, passphrase: str) -> bool:
    """Whether a passphrase is the one that a salt was made with; true for a salt of another kind.

    Args:
        salt: as it stands in a stack's file: "v1:SALT:v1:NONCE:TEXT".
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
    except ValueError:  # cut or mistyped: the engine has said so
        return True


def _in_use() -> tuple[str, str | None]:
    """Where the engine has its passphrase from, and what it is; None where it has none."""
    if PASSPHRASE in os.environ:
        return f"your {PASSPHRASE}", os.environ[PASSPHRASE]
    file = os.environ.get(PASSPHRASE_FILE, "")
    return f"what is in {file}", _read(Path(file)) if file else None


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
    if any(given is not None and opens(salt, given) for given in _aside()):
        return f"The one that you had set before is, and this shell has kept it: {again}."
    own = PRIVATE / passphrases.OWN
    mine = _read(own)
    if mine is not None and opens(salt, mine):
        names = " ".join([*ASIDE, *ASIDE.values()])
        return f"The one in {own} is: unset {names}, then {again}."
    if opens(salt, PUBLIC_PASSPHRASE):
        return f"The public one is: {PASSPHRASE}={PUBLIC_PASSPHRASE} opens it."
    return (
        f"Put the one that it was made with into {own} (it was in the same place in the checkout "
        f"where the stack was made), or set {PASSPHRASE} to it. If it is lost, so are the secrets "
        f"of this stack: pulumi stack rm --force --preserve-config {stack}, take 'encryptionsalt' "
        "and every 'secure:' out of the file, set them anew, and take over its caches: "
        f"make adopt STACK={stack}"
    )
