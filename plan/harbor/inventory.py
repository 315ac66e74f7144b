"""What a Harbor has, and whose it is."""

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
        robots: every robot account of system level; empty where none is wanted or known.
        robot_prefix: what this Harbor puts before the names of its robots.
    """

    registries: tuple[Json, ...] = ()
    projects: tuple[Json, ...] = ()
    robots: tuple[Json, ...] = ()
    robot_prefix: str = DEFAULT_ROBOT_PREFIX

    def project(self, name: str) -> Json | None:
        """The project of this name."""
        return named(self.projects, name)

    def registry(self, number: object) -> Json | None:
        """The registry endpoint with this id."""
        return next((one for one in self.registries if one["id"] == number), None)


def is_ours(plan: HarborPlan, thing: Json | None) -> bool:
    """Whether this stack made an endpoint or a robot."""
    return thing is not None and thing.get("description") == plan.mark


def retention_id(project: Json) -> str | None:
    """Number of a project's retention policy; None if it has none."""
    return str(project.get("metadata", {}).get("retention_id") or "") or None


def owns(plan: HarborPlan, found: Found, project: Json) -> bool:
    """Whether this stack made a project: it belongs to whoever made its endpoint."""
    return is_ours(plan, found.registry(project.get("registry_id")))


def named(things: Sequence[Json], name: str) -> Json | None:
    """The thing of this name; None where there is none."""
    return next((one for one in things if one["name"] == name), None)


def id_of(things: Sequence[Json], name: str) -> int:
    """Its number in Harbor's API."""
    return next(int(one["id"]) for one in things if one["name"] == name)


def maker(thing: Json) -> str:
    """Who made something, as far as its description tells."""
    text = str(thing.get("description", ""))
    return f" ({text})" if text.startswith("made by ") else ""


def is_public(project: Json) -> bool:
    """Whether anybody may pull from a project."""
    return bool(project.get("metadata", {}).get("public") == "true")


def username(endpoint: Json) -> str:
    """Who an endpoint asks its upstream as; empty for nobody."""
    return str((endpoint.get("credential") or {}).get("access_key", ""))


def plain(url: str) -> str:
    """A URL as Harbor compares it."""
    return url.rstrip("/")
