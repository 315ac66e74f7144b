"""The used subset of Harbor's API description, and the check of requests and answers against it."""

import re
from pathlib import Path
from urllib.parse import unquote

import yaml

SUBSET = yaml.safe_load((Path(__file__).parent / "openapi_subset.yaml").read_text())
PLAIN = {"string": str, "integer": int, "boolean": bool, "object": dict}


class WrongError(Exception):
    """A request, or an answer of the fake, is not as described."""


class Operation:
    """One operation of the subset.

    Attributes:
        key: as in the subset: `GET /projects/{project_name}/repositories`.
    """

    def __init__(self, key, described):
        self.key = key
        self.method, path = key.split()
        self.query = set(described.get("query", ()))
        self.body = described.get("body")
        self.required = described.get("required", ())
        self.answers = described["answers"]
        self._pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))

    def match(self, path):
        """The path's parameters, decoded once as Harbor's router does; None if it is another."""
        found = self._pattern.fullmatch(path)
        return found and {name: unquote(value) for name, value in found.groupdict().items()}

    @property
    def is_list(self):
        return any(str(schema).startswith("[") for schema in self.answers.values())

    def check_request(self, query, body):
        if unknown := set(query) - self.query:
            raise WrongError(f"{', '.join(sorted(unknown))} in query is not described")
        for name in {"page", "page_size"} & set(query):
            if not query[name].isdigit() or int(query[name]) < 1:
                raise WrongError(f"{name} in query must be of type int64: {query[name]!r}")
        limit = SUBSET["page_size_limit"]
        if int(query.get("page_size", 1)) > limit:
            raise WrongError(f"page_size in query should be less than or equal to {limit}")
        if self.body is None:
            if body is not None:
                raise WrongError("there is a body, and none is described")
            return
        check(body, self.body, "body")
        if missing := [name for name in self.required if name not in body]:
            raise WrongError(f"{', '.join(missing)} in body is required")

    def check_answer(self, status, body):
        if status not in self.answers:
            raise WrongError(f"{status} is not described")
        if self.answers[status] is None:
            if body is not None:
                raise WrongError(f"{status} has no content")
        else:
            check(body, self.answers[status], "answer")


OPERATIONS = [Operation(key, described) for key, described in SUBSET["operations"].items()]


def operation(method, path):
    """(operation, parameters of its path) of a request below the API; None if there is none."""
    for one in OPERATIONS:
        if one.method == method and (parameters := one.match(path)) is not None:
            return one, parameters
    return None


def check(value, kind, where):
    """Refuse what is not of this type, or has a field that is not described."""
    if kind.startswith("["):
        if not isinstance(value, list):
            raise WrongError(f"{where} must be a list")
        for index, item in enumerate(value):
            check(item, kind[1:-1], f"{where}[{index}]")
    elif kind.startswith("{"):
        if not isinstance(value, dict):
            raise WrongError(f"{where} must be an object")
        for name, item in value.items():
            check(item, kind[1:-1], f"{where}.{name}")
    elif kind in PLAIN:
        if not isinstance(value, PLAIN[kind]) or (kind == "integer" and isinstance(value, bool)):
            raise WrongError(f"{where} must be of type {kind}")
    else:
        fields = SUBSET["schemas"][kind]
        if not isinstance(value, dict):
            raise WrongError(f"{where} must be an object")
        for name, item in value.items():
            if name not in fields:
                raise WrongError(f"{where}.{name} is not described")
            check(item, fields[name], f"{where}.{name}")
