"""What registries and their token services say to those who want a token; it may be anything.

Source: "Token Authentication Specification" of distribution; RFC 9110, section 11.6.1.
"""

import re
from collections.abc import Mapping

import httpx

from ops.registry.error_text import parsed

# A name starts where no other character of one stands before it, so that none is looked at twice.
_PARAMETER = re.compile(r'(?<![\w-])([\w-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))')
# What can stand in a header: RFC 6750 allows fewer characters still.
_TOKEN = re.compile("[!-~]+")


def challenges(headers: httpx.Headers) -> dict[str, dict[str, str]]:
    """Scheme in lower case -> its parameters, as far as they can be read: one in each header."""
    found = {}
    for challenge in headers.get_list("WWW-Authenticate"):
        scheme, _, rest = challenge.strip().partition(" ")
        if scheme:
            found[scheme.lower()] = {
                name.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare
                for name, quoted, bare in _PARAMETER.findall(rest)
            }
    return found


def token(text: str) -> str | None:
    """The token in what a token service answers; None if there is none that could be sent."""
    content = parsed(text)
    if not isinstance(content, Mapping):
        return None
    given = content.get("access_token") or content.get("token")
    return given if isinstance(given, str) and _TOKEN.fullmatch(given) else None
