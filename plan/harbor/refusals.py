"""Why nothing may be done: what Harbor has is not what the stack means."""

from collections.abc import Iterator

from plan.harbor.desired import DEFAULT_ROBOT_PREFIX, NAME, HarborPlan, HarborProject
from plan.harbor.inventory import Found, Json, is_ours, is_public, maker, named, plain, username


def refusals(plan: HarborPlan, found: Found) -> tuple[str, ...]:
    """Why nothing may be done: what Harbor has under these names is not what the stack means."""
    texts = [text for project in plan.projects for text in _project_refusals(plan, project, found)]
    return tuple(texts + list(_robot_refusals(plan, found)))


def _project_refusals(plan: HarborPlan, project: HarborProject, found: Found) -> Iterator[str]:
    there = found.project(project.name)
    if there is None:
        endpoint = named(found.registries, project.registry_name)
        if endpoint is not None and not is_ours(plan, endpoint):
            yield (
                f"the registry endpoint {project.registry_name}: it is there, and this stack did "
                f"not make it{maker(endpoint)}. Rename or remove it in Harbor, or give the "
                "projects of this stack other names (harbor.projectPrefix)"
            )
        return
    differences = list(_differences(plan, project, there, found))
    if differences:
        yield (
            f"the project {project.name}: it is there, and it is another than this stack means: "
            f"{'; '.join(differences)}. Change that in Harbor, or give the projects of this stack "
            "other names (harbor.projectPrefix)"
        )


def _differences(
    plan: HarborPlan, project: HarborProject, there: Json, found: Found
) -> Iterator[str]:
    endpoint = found.registry(there.get("registry_id") or None)
    if endpoint is None:
        yield "it is no proxy cache"
        return
    if is_ours(plan, endpoint):
        if endpoint["type"] != project.registry_type:
            yield (
                f"its endpoint {endpoint['name']} is of type {endpoint['type']}, not "
                f"{project.registry_type}, which Harbor can't change"
            )
        return
    if plain(endpoint["url"]) != plain(project.remote_url):
        yield f"it caches {endpoint['url']}, not {project.remote_url}"
    if is_public(there) != plan.public:
        words = {True: "public", False: "private"}
        yield f"it is {words[is_public(there)]}, not {words[plan.public]}"
    if project.username and username(endpoint) != project.username:
        yield "it asks the upstream as somebody else"


def _robot_refusals(plan: HarborPlan, found: Found) -> Iterator[str]:
    if not plan.robot:
        return
    there = named(found.robots, plan.robot)
    if there is not None and not is_ours(plan, there):
        yield (
            f"the robot account {plan.robot}: it is there, and this stack did not make it"
            f"{maker(there)}. Give the stack's robot another name (harbor.robot)"
        )
    prefix = found.robot_prefix
    if not plan.robot.startswith(prefix) or not NAME.fullmatch(plan.robot.removeprefix(prefix)):
        short = plan.robot.removeprefix(DEFAULT_ROBOT_PREFIX)
        example = short if NAME.fullmatch(short) else f"talos-{plan.stack.lower()}"
        yield (
            f"the robot account {plan.robot}: this Harbor's robots are called {prefix}NAME, the "
            f"name in small letters, digits, '.', '_' and '-'. Write {prefix}{example} as "
            "harbor.robot"
        )
