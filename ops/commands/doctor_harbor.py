"""The part of `doctor` that checks the Harbor in place of caches, with the requests of nodes."""

from host.errors import TalosCacheError
from ops import passphrase
from ops.cluster.folder import identity_of
from ops.harbor import access
from ops.registry import endpoints
from ops.stack import secret_files, stack_files, stack_secrets
from plan import diagnosis, ownership
from plan.diagnosis import Finding
from plan.harbor import from_settings
from plan.settings.stack import Settings
from plan.talos.mirrors import Mirror

ABOUT = "Harbor"


def examined(stack: str, settings: Settings) -> list[Finding]:
    """Whether it answers, and whether nodes may pull from it, seen from this machine.

    Args:
        stack: its name.
        settings: of the stack, with an upstream behind Harbor; secrets may be encrypted.
    """
    harbor = settings.harbor
    assert harbor is not None  # noqa: S101 - an upstream behind it needs one (plan/settings/stack.py)
    answer = endpoints.answer(harbor.url)
    reachable = diagnosis.of_harbor(harbor.url, answer)
    if answer.why_not:
        return [reachable]
    robot = secret_files.kept_robot_secret(stack)
    if from_settings.needs_robot(settings) and not robot:
        text = "its projects do not exist yet: this stack has not created them"
        return [reachable, diagnosis.warning(ABOUT, text, f"make up STACK={stack}")]
    try:
        # Decrypting takes the passphrase, and only this login is needed.
        opened = stack_secrets.settings_of(stack) if harbor.login else settings
    except TalosCacheError as error:
        why = " ".join(str(error).split())
        text = f"could not check whether nodes may pull from it: {why}"
        return [reachable, diagnosis.warning(ABOUT, text, passphrase.advice(stack))]
    asked = access.ask(harbor, _mirrors(stack, opened, robot), stack)
    refused = [diagnosis.problem(ABOUT, one.text, one.fix) for one in asked.refusals]
    unknown = [diagnosis.warning(ABOUT, asked.unknown)] if asked.unknown else []
    return [reachable, *refused, *unknown]


def _mirrors(stack: str, settings: Settings, robot: str) -> tuple[Mirror, ...]:
    """Of the upstreams behind Harbor, as the program hands them to nodes."""
    files = stack_files.named_files(settings)
    born, owner = ownership.parts(identity_of(stack))
    plan = from_settings.build(settings, born, owner, files, robot)
    return from_settings.mirrors(settings, files, plan)
