"""What a stack removes from Harbor."""

from collections.abc import Collection
from dataclasses import dataclass

from plan.harbor.desired import HarborPlan
from plan.harbor.inventory import Found, Json, is_ours, owns, username

GIVEN_UP = "the description of its registry endpoint no longer says that this stack created it"


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What happens to one registry endpoint of this stack, and to the projects on it.

    Attributes:
        registry: the endpoint.
        projects: to remove, with all their images, before the endpoint.
        stays: why the endpoint stays after that; None if it is removed.
    """

    registry: Json
    projects: tuple[Json, ...]
    stays: str | None = None

    @property
    def what(self) -> str:
        """The endpoint, for messages."""
        return f"the registry endpoint {self.registry['name']}"

    @property
    def told(self) -> str:
        """The message that the endpoint stays, and why."""
        secret = ", with the credentials for its upstream" if username(self.registry) else ""
        return f"{self.what} stays{secret}: {self.stays}"


def removals(
    plan: HarborPlan, found: Found, wanted: Collection[str], known: Collection[str]
) -> tuple[Removal, ...]:
    """What this stack removes.

    Args:
        plan: of the stack.
        found: what Harbor has.
        wanted: projects that stay in any case.
        known: projects that are in the stack's plan, or were just now.

    On an endpoint of the stack, the known projects are its own. So is one with the endpoint's name,
    as the stack creates them: an earlier run or another state may have kept it. Any other project
    was created by another user, and stays.
    """
    return tuple(
        removal
        for registry in found.registries
        if is_ours(plan, registry)
        and (removal := _removal(plan, found, registry, wanted, known)) is not None
    )


def given_up(plan: HarborPlan, found: Found, made_before: Collection[str]) -> tuple[str, ...]:
    """Projects that this stack has created, and whose endpoint no longer says so.

    Removing the mark from an endpoint's description takes over the endpoint and its projects.

    Args:
        plan: of the stack.
        found: what Harbor has.
        made_before: names of projects that the last run has called its own.
    """
    projects = ((name, found.project(name)) for name in made_before)
    return tuple(
        name for name, project in projects if project is not None and not owns(plan, found, project)
    )


def _removal(
    plan: HarborPlan,
    found: Found,
    registry: Json,
    wanted: Collection[str],
    known: Collection[str],
) -> Removal | None:
    """None if the plan wants a project on the endpoint: then all of it stays."""
    on_it = [one for one in found.projects if one.get("registry_id") == registry["id"]]
    if any(one["name"] in wanted for one in on_it):
        return None
    own_names = {*known, registry["name"]}
    own = [one for one in on_it if one["name"] in own_names]
    foreign = [one["name"] for one in on_it if one["name"] not in own_names]
    kept = [one["name"] for one in own if plan.keep_data and one.get("repo_count")]
    reasons = [f"the project {name} contains images, which are kept" for name in kept]
    reasons += [f"another user created the project {name} on it" for name in foreign]
    return Removal(
        registry=registry,
        projects=tuple(one for one in own if one["name"] not in kept),
        stays="; ".join(reasons) or None,
    )
