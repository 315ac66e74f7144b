"""What registries, the token services before them, and Harbor say where they refuse something."""

import html
import re
from collections.abc import Mapping

from plan import foreign_json

# Where words for people stand, best first: `details` is what Docker Hub's token service has.
_KEYS = ("message", "details", "error_description", "error", "code")
# The heading of a page is there, if it has one: looking for it takes long in what is longer.
_START = 4096
# What stands in the place of a registry, such as a proxy before it, says it in HTML.
_PAGE = re.compile(r"[\s\ufeff]*<(!doctype|html|head|body|title|center|h[1-6])\b", re.IGNORECASE)
_HEADING = re.compile(
    r"<(?P<tag>title|h1)\b[^>]*>(?P<text>.*?)</(?P=tag)", re.IGNORECASE | re.DOTALL
)


def words(text: str) -> str:
    """The messages in an answer's text; all of the text where it has none, but no page's HTML.

    Empty where nothing is said, as in `{}`: then its status has to do.

    As it came: where secrets may be in it they have to go before it is cut and put on one line.

    Source: "Error Codes" of the distribution specification; RFC 6749 section 5.2.
    """
    content = parsed(text)
    said: list[str] = []
    if isinstance(content, Mapping):
        errors = content.get("errors")
        found = errors if isinstance(errors, list) else [content]
        said = [_message(one) for one in found if isinstance(one, Mapping)]
    if any(said):
        return "; ".join(filter(None, said))
    if _PAGE.match(text):
        return _page(text)
    return text if content is None or _has_text(content) else ""


def _has_text(content: object) -> bool:
    """Whether there is anything in it that people could read."""
    ahead = [content]
    while ahead:
        match ahead.pop():
            case str() as text if text:
                return True
            case Mapping() as entries:
                ahead += entries.values()
            case list() as entries:
                ahead += entries
    return False


def _page(text: str) -> str:
    """A web page, by its heading."""
    found = _HEADING.search(text[:_START])
    heading = " ".join(html.unescape(found["text"]).split()) if found else ""
    return f'a web page, "{heading}"' if heading else "a web page"


def _message(error: Mapping[str, object]) -> str:
    message = next((str(error[key]) for key in _KEYS if error.get(key)), "")
    # "unknown error" says nothing: a pull-through cache has its upstream's status behind it.
    detail = error.get("detail")
    return f"{message}: {detail}" if error.get("code") == "UNKNOWN" and detail else message


def parsed(text: str) -> object:
    """What a JSON text means; None if it is none."""
    try:
        return foreign_json.read(text)
    except ValueError:
        return None
