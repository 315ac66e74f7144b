"""What a Harbor has, and who owns it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plan.harbor.desired import DEFAULT_ROBOT_PREFIX, HarborPlan

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a Harbor has.

    Attributes:
        registries: every registry endpoint.
        projects: every project.
        robots: every robot account of system level; empty if none is wanted or known.
        robot_prefix: what this Harbor puts before the names of its robots.
    """

    registries: tuple[Json, ...] = ()
    projects: tuple[Json, ...] = ()
    robots: tuple[Json, ...] = ()
    robot_prefix: str = DEFAULT_ROBOT_PREFIX

    def project(self, name: str) -> Json | None:
        """The project with this name."""
        return named(self.projects, name)

    def registry(self, number: object) -> Json | None:
        """The registry endpoint with this id."""
        return next((one for one in self.registries if one["id"] == number), None)


def is_ours(plan: HarborPlan, thing: Json | None) -> bool:
    """Whether this stack created an endpoint or a robot."""
    return thing is not None and thing.get("description") == plan.mark


def retention_id(project: Json) -> str | None:
    """ID of a project's retention policy, if it has one."""
    return str(project.get("metadata", {}).get("retention_id") or "") or None


def owns(plan: HarborPlan, found: Found, project: Json) -> bool:
    """Whether this stack created a project: it has the owner of its endpoint."""
    return is_ours(plan, found.registry(project.get("registry_id")))


def named(things: Sequence[Json], name: str) -> Json | None:
    """The object with this name, if there is one."""
    return next((one for one in things if one["name"] == name), None)


def id_of(things: Sequence[Json], name: str) -> int:
    """ID of the object with this name."""
    return next(int(one["id"]) for one in things if one["name"] == name)


def maker(thing: Json) -> str:
    """Who created something, if its description says so."""
    text = str(thing.get("description", ""))
    return f" ({text})" if text.startswith("made by ") else ""


def is_public(project: Json) -> bool:
    """Whether anyone may pull from a project."""
    return bool(project.get("metadata", {}).get("public") == "true")


def username(endpoint: Json) -> str:
    """The user name with which an endpoint pulls from its upstream; may be empty."""
    return str((endpoint.get("credential") or {}).get("access_key", ""))


def plain(url: str) -> str:
    """A URL as Harbor compares it."""
    return url.rstrip("/")
