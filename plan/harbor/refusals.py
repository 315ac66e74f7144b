"""Why a stack must change nothing: Harbor has other things under the stack's names."""

from collections.abc import Iterator

from plan.harbor.desired import DEFAULT_ROBOT_PREFIX, NAME, HarborPlan, HarborProject
from plan.harbor.inventory import Found, Json, is_ours, is_public, maker, named, plain, username


def refusals(plan: HarborPlan, found: Found) -> tuple[str, ...]:
    """Messages on what Harbor has under the stack's names, and the stack must not change."""
    texts = [text for project in plan.projects for text in _project_refusals(plan, project, found)]
    return tuple(texts + list(_robot_refusals(plan, found)))


def _project_refusals(plan: HarborPlan, project: HarborProject, found: Found) -> Iterator[str]:
    existing = found.project(project.name)
    if existing is None:
        endpoint = named(found.registries, project.registry_name)
        if endpoint is not None and not is_ours(plan, endpoint):
            yield (
                f"the registry endpoint {project.registry_name} exists, and this stack did not "
                f"create it{maker(endpoint)}. Rename or delete it in Harbor, or give this stack's "
                "projects other names (harbor.projectPrefix)"
            )
        return
    differences = list(_differences(plan, project, existing, found))
    if differences:
        yield (
            f"the project {project.name} exists, and is not what this stack needs: "
            f"{'; '.join(differences)}. Change that in Harbor, or give this stack's projects other "
            "names (harbor.projectPrefix)"
        )


def _differences(
    plan: HarborPlan, project: HarborProject, existing: Json, found: Found
) -> Iterator[str]:
    endpoint = found.registry(existing.get("registry_id") or None)
    if endpoint is None:
        yield "it is not a proxy cache"
        return
    if is_ours(plan, endpoint):
        if endpoint["type"] != project.registry_type:
            yield (
                f"its endpoint {endpoint['name']} is of type {endpoint['type']}, not "
                f"{project.registry_type}, and Harbor can't change that"
            )
        return
    if plain(endpoint["url"]) != plain(project.remote_url):
        yield f"it caches {endpoint['url']}, not {project.remote_url}"
    if is_public(existing) != plan.public:
        names = {True: "public", False: "private"}
        yield f"it is {names[is_public(existing)]}, not {names[plan.public]}"
    if project.username and username(endpoint) != project.username:
        yield "it pulls from the upstream as another user"


def _robot_refusals(plan: HarborPlan, found: Found) -> Iterator[str]:
    if not plan.robot:
        return
    existing = named(found.robots, plan.robot)
    if existing is not None and not is_ours(plan, existing):
        yield (
            f"the robot account {plan.robot} exists, and this stack did not create it"
            f"{maker(existing)}. Give the stack's robot another name (harbor.robot)"
        )
    prefix = found.robot_prefix
    if not plan.robot.startswith(prefix) or not NAME.fullmatch(plan.robot.removeprefix(prefix)):
        short = plan.robot.removeprefix(DEFAULT_ROBOT_PREFIX)
        example = short if NAME.fullmatch(short) else f"talos-{plan.stack.lower()}"
        yield (
            f"the robot account {plan.robot}: this Harbor's robots are called {prefix}NAME, with "
            f"lower-case letters, digits, '.', '_' and '-' in NAME. Write harbor.robot: "
            f"{prefix}{example}"
        )
