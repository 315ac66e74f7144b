"""States that an earlier version made, brought into a checkout; tests/fixtures/states has them.

Nothing of what they speak of is there: what a state says is compared with what the program wants.
"""

import json
from dataclasses import dataclass

from ops.docker import api
from tests.checkout import ROOT

STATES = ROOT / "tests" / "fixtures" / "states"
USUAL_BRIDGE = "172.17.0.1"
# The folder of a stack is called by so much of what names its state.
FOLDER_DIGITS = 6
IDENTITY = "from ops.cluster.folder import usual_identity; print(usual_identity({!r}))"


@dataclass(frozen=True)
class Earlier:
    """A stack that an earlier version brought up.

    Attributes:
        folder: in STATES.
        stack: its name.
        digits: what named its state on the machine where it was made.
    """

    folder: str
    stack: str
    digits: str


CACHES = Earlier("caches", "kept-caches", "aae525545d78")
CLUSTER = Earlier("cluster", "kept", "9be8b8c75235")
HARBOR = Earlier("harbor", "kept-harbor", "d58b7ac419e7")


def changes(checkout, earlier, state_home):
    """What a preview would change in it: a set as from `Checkout.changes`.

    Args:
        checkout: gets the stack, and loses it again.
        earlier: the stack.
        state_home: an empty folder, for what a stack keeps to itself.
    """
    folder, stack = STATES / earlier.folder, earlier.stack
    private = checkout.path / ".work" / "private"
    private.mkdir(mode=0o700, exist_ok=True)
    _write(private / "passphrase", (folder / "passphrase").read_text())
    bridge = api.bridge_gateway(checkout.client)
    file = f"Pulumi.{stack}.yaml"
    config = (folder / file).read_text().replace(USUAL_BRIDGE, bridge)
    (checkout.path / "stacks" / file).write_text(config)
    checkout.env["XDG_STATE_HOME"] = str(state_home)
    ours = _digits(checkout, stack)
    exported = state_home / "state.json"
    state = (folder / "state.json").read_text().replace(USUAL_BRIDGE, bridge)
    # As if it had been made here: to a cluster, a state that has moved says so.
    exported.write_text(state.replace(earlier.digits, ours))
    own = state_home / "talos-cache" / f"{stack}-{ours[:FOLDER_DIGITS]}"
    for path in (folder / "machine").rglob("*"):
        if path.is_file():
            place = own / path.relative_to(folder / "machine")
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(place, path.read_text().replace(earlier.digits, ours))
    checkout.pulumi("stack", "select", "--create", stack=stack)
    try:
        checkout.pulumi("stack", "import", "--file", str(exported), stack=stack)
        assert len(_resources(checkout, stack)) == len(json.loads(state)["deployment"]["resources"])
        # Without a look at Docker, which has none of it.
        return checkout.changes(stack, "--refresh=false")
    finally:
        checkout.pulumi("stack", "rm", "--force", "--yes", stack=stack)
        checkout.stacks.discard(stack)


def _resources(checkout, stack):
    exported = json.loads(checkout.pulumi("stack", "export", stack=stack).stdout)
    return exported["deployment"]["resources"]


def _digits(checkout, stack):
    """What names a stack's state in this checkout."""
    argv = (".work/venv/bin/python", "-c", IDENTITY.format(stack))
    return checkout.run(*argv, env=checkout.shell_env(stack)).stdout.strip().rpartition("-")[2]


def _write(path, text):
    path.write_text(text)
    path.chmod(0o600)
