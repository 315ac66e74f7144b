"""The error messages of registries, their token services, and Harbor."""

import html
import re
from collections.abc import Mapping

from plan import foreign_json

# Keys of messages for people, best first: `details` is what Docker Hub's token service uses.
_KEYS = ("message", "details", "error_description", "error", "code")
# The heading of a page is in here, if it has one: it would take long to search all of it.
_START = 4096
# What answers in place of a registry, such as a proxy in front of it, sends HTML.
_PAGE = re.compile(r"[\s\ufeff]*<(!doctype|html|head|body|title|center|h[1-6])\b", re.IGNORECASE)
_HEADING = re.compile(
    r"<(?P<tag>title|h1)\b[^>]*>(?P<text>.*?)</(?P=tag)", re.IGNORECASE | re.DOTALL
)


def error_message(text: str) -> str:
    """The messages in an answer's text; all of the text if it has none, but not a page's HTML.

    Empty if there is nothing to read, as in `{}`: then the status has to do.

    Not shortened: secrets have to be masked before it is cut and put on one line.

    Source: "Error Codes" of the distribution specification; RFC 6749 section 5.2.
    """
    content = parsed(text)
    messages: list[str] = []
    if isinstance(content, Mapping):
        listed = content.get("errors")
        errors = listed if isinstance(listed, list) else [content]
        messages = [_message(error) for error in errors if isinstance(error, Mapping)]
    if any(messages):
        return "; ".join(filter(None, messages))
    if _PAGE.match(text):
        return _page(text)
    return text if content is None or _has_text(content) else ""


def _has_text(content: object) -> bool:
    """Whether there is anything in it that people could read."""
    pending = [content]
    while pending:
        match pending.pop():
            case str() as text if text:
                return True
            case Mapping() as entries:
                pending += entries.values()
            case list() as entries:
                pending += entries
    return False


def _page(text: str) -> str:
    """A web page, by its heading."""
    match = _HEADING.search(text[:_START])
    heading = " ".join(html.unescape(match["text"]).split()) if match else ""
    return f'a web page, "{heading}"' if heading else "a web page"


def _message(error: Mapping[str, object]) -> str:
    message = next((str(error[key]) for key in _KEYS if error.get(key)), "")
    # "unknown error" says nothing: a pull-through cache puts its upstream's status into the detail.
    detail = error.get("detail")
    return f"{message}: {detail}" if error.get("code") == "UNKNOWN" and detail else message


def parsed(text: str) -> object:
    """The value of a JSON text; None if it is not JSON."""
    try:
        return foreign_json.read(text)
    except ValueError:
        return None
