"""What of a stack's goes from Harbor."""

from collections.abc import Collection
from dataclasses import dataclass

from plan.harbor.desired import HarborPlan
from plan.harbor.inventory import Found, Json, is_ours, owns, username

GIVEN_UP = "the description of its registry endpoint no longer says that this stack made it"


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What becomes of one registry endpoint of this stack, and of the projects on it.

    Attributes:
        registry: the endpoint.
        projects: to remove, with all that they hold, before the endpoint.
        stays: why the endpoint stays after that; None if it goes.
    """

    registry: Json
    projects: tuple[Json, ...]
    stays: str | None = None

    @property
    def what(self) -> str:
        """The endpoint, in words."""
        return f"the registry endpoint {self.registry['name']}"

    @property
    def told(self) -> str:
        """That the endpoint stays, and why."""
        secret = ", with the credentials for its upstream" if username(self.registry) else ""
        return f"{self.what} stays{secret}: {self.stays}"


def removals(
    plan: HarborPlan, found: Found, wanted: Collection[str], known: Collection[str]
) -> tuple[Removal, ...]:
    """What of this stack's goes.

    Args:
        plan: of the stack.
        found: what Harbor has.
        wanted: projects that stay in any case.
        known: projects that the stack has, or had just now, in its plan.

    On one of the stack's endpoints these are its own, and so is one with the endpoint's name, which
    is how it makes them: it may have been kept by a run of long ago, or by another state. Any other
    was put there by somebody else, and stays.
    """
    return tuple(
        removal
        for registry in found.registries
        if is_ours(plan, registry)
        and (removal := _removal(plan, found, registry, wanted, known)) is not None
    )


def given_up(plan: HarborPlan, found: Found, made_before: Collection[str]) -> tuple[str, ...]:
    """Projects that this stack has made, and whose endpoint says so no more.

    Whoever takes the mark out of an endpoint's description takes it over, with what is on it.

    Args:
        plan: of the stack.
        found: what Harbor has.
        made_before: names of projects that the last run has called its own.
    """
    there = ((name, found.project(name)) for name in made_before)
    return tuple(name for name, one in there if one is not None and not owns(plan, found, one))


def _removal(
    plan: HarborPlan,
    found: Found,
    registry: Json,
    wanted: Collection[str],
    known: Collection[str],
) -> Removal | None:
    """None where the plan wants a project on the endpoint: then all of it stays."""
    on_it = [one for one in found.projects if one.get("registry_id") == registry["id"]]
    if any(one["name"] in wanted for one in on_it):
        return None
    own = {*known, registry["name"]}
    held = [one for one in on_it if one["name"] in own]
    foreign = [one["name"] for one in on_it if one["name"] not in own]
    full = [one["name"] for one in held if plan.keep_data and one.get("repo_count")]
    reasons = [f"the project {name} holds images, and they are kept" for name in full]
    reasons += [f"somebody else put the project {name} on it" for name in foreign]
    return Removal(
        registry=registry,
        projects=tuple(one for one in held if one["name"] not in full),
        stays="; ".join(reasons) or None,
    )
