"""A line of the file of passwords that distribution's `htpasswd` authentication reads."""

import base64

import bcrypt

# The registry hashes at every request: 2**8 rounds take some 15 ms here.
COST = 8
_STANDARD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BCRYPT = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def line(username: str, password: str, salt: bytes) -> str:
    """`user:hash`, the same for the same arguments.

    Args:
        username: without a colon.
        password: 72 bytes at most.
        salt: 16 bytes.
    """
    letters = base64.b64encode(salt).rstrip(b"=").translate(bytes.maketrans(_STANDARD, _BCRYPT))
    hashed = bcrypt.hashpw(password.encode(), b"$2b$%02d$%s" % (COST, letters))
    return f"{username}:{hashed.decode()}\n"
