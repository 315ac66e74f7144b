"""A line of the htpasswd file that distribution reads for its own authentication."""

import base64

import bcrypt

# The registry hashes at every request: 2**8 rounds take about 15 ms.
COST = 8
_STANDARD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BCRYPT = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def line(username: str, password: str, salt: bytes) -> str:
    """`user:hash`, the same for the same arguments.

    Args:
        username: without a colon.
        password: at most 72 bytes.
        salt: 16 bytes.
    """
    letters = base64.b64encode(salt).rstrip(b"=").translate(bytes.maketrans(_STANDARD, _BCRYPT))
    hashed = bcrypt.hashpw(password.encode(), b"$2b$%02d$%s" % (COST, letters))
    return f"{username}:{hashed.decode()}\n"
