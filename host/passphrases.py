"""Which passphrase encrypts a stack's secrets, and where it is.

The stacks that come with the project have their salt in a committed file. So their passphrase is
the same for everyone: it is public, and they have no secrets. Any other stack uses the one in the
user's environment (for a team that shares a stack), or else this checkout's own, which is random.
docs/adr/0005 says why.
"""

import os
import re
import secrets
from pathlib import Path

from host.console import say
from host.paths import PRIVATE, ROOT
from host.private_files import private_folder, write_once

PUBLIC_PASSPHRASE = "talos-cache"  # noqa: S105 - public on purpose, see above
PASSPHRASE = "PULUMI_CONFIG_PASSPHRASE"  # noqa: S105 - the name of a variable
PASSPHRASE_FILE = f"{PASSPHRASE}_FILE"
# Where a shell keeps the user's choice while it has the passphrase of a public stack.
ASIDE = {
    PASSPHRASE: "TALOS_CACHE_USERS_PASSPHRASE",
    PASSPHRASE_FILE: "TALOS_CACHE_USERS_PASSPHRASE_FILE",
}
OWN = "passphrase"
PUBLIC = "passphrase-public"
STACKS = ROOT / "stacks"


def passphrase_file(stack: str) -> Path:
    """The file with the passphrase of this stack, created if it does not exist yet (0600)."""
    public = is_public(stack)
    path = private_folder(PRIVATE) / (PUBLIC if public else OWN)
    if not path.exists():
        write_once(path, PUBLIC_PASSPHRASE if public else secrets.token_urlsafe(32))
    return path


def is_public(stack: str) -> bool:
    """Whether a stack has a public passphrase, even if it has been renamed."""
    return stack in PUBLIC_STACKS or salt_of(stack_file(stack)) in PUBLIC_SALTS


def users_own() -> list[str]:
    """Names of the variables in which the user has set a passphrase."""
    file = os.environ.get(PASSPHRASE_FILE, "")
    is_set = {
        PASSPHRASE: PASSPHRASE in os.environ,  # empty is a passphrase too
        PASSPHRASE_FILE: bool(file) and not _is_from_a_set_up(Path(file)),
    }
    return [name for name in ASIDE if is_set[name]]


def tell_what_is_not_taken() -> None:
    """Tell the user if the file in the environment is ignored: it is another checkout's."""
    file = Path(os.environ.get(PASSPHRASE_FILE, ""))
    if file.name == OWN and _is_from_a_set_up(file) and file != PRIVATE / OWN:
        say(
            f"{PASSPHRASE_FILE} names the passphrase of another checkout ({file}), which its "
            f"set-up has left in this shell: ignored here. To share stacks with that checkout, "
            f"copy the file to {PRIVATE / OWN}, or name a copy elsewhere"
        )


def _is_from_a_set_up(file: Path) -> bool:
    """Whether a set-up has named this file, even one of another checkout or an older version."""
    return file.name in (OWN, PUBLIC) and file.parent.parts[-2:] == PRIVATE.parts[-2:]


def stacks_that_need_it() -> list[Path]:
    """Files of stacks that are encrypted with this checkout's own passphrase, as far as is known.

    A file does not show whether the user's own passphrase decrypts it.
    """
    if not (PRIVATE / OWN).exists():
        return []
    return [
        file
        for file in sorted(STACKS.glob("Pulumi.*.yaml"))
        if (salt := salt_of(file)) and salt not in PUBLIC_SALTS
    ]


def stack_file(stack: str) -> Path:
    """Where a stack's file is, if there is one."""
    return STACKS / f"Pulumi.{stack}.yaml"


def salt_of(file: Path) -> str | None:
    """The salt that the engine has written into a stack's file; None if there is none."""
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return None
    match = re.search(r"^encryptionsalt:\s*['\"]?([^\s'\"]+)", text, re.MULTILINE)
    return match[1] if match else None


# The stacks that come with the project: the passphrase behind their committed salts is public.
PUBLIC_STACKS = ("docker", "qemu", "docker-cluster", "qemu-cluster", "demo")
# Their salts: a renamed stack keeps its salt, and with it the passphrase.
PUBLIC_SALTS = (
    "v1:D36G/IH1Edw=:v1:WswSJSjF4LryRrHB:lVeHP9PzwWnXbFS2/rHJ6hnEWlvs9g==",
    "v1:DM8pYkx5LrM=:v1:/Y+bZX1AuATrkROT:BmTVBkHPtU5gNvak3emOd9d+edCbLw==",
    "v1:fwM1sC11b9w=:v1:2tBR2SRZmwgwLMIP:4+UmoazAqvgiAFiIjhdcyP4PAmTDcQ==",
    "v1:Uur0cy1Y7F8=:v1:xu+Y0HPkgeJg9UAi:wei+d5TxRwM2hYmuER88EiTs4uvRdw==",
    "v1:uJNw/5KJOZM=:v1:g4cLGW48K0LSJoY4:K1y8W4nclK6oPc3B2/YlMLMmXlw91Q==",
)
