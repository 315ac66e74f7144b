"""What a stack's plans need to know of this machine, asked before they are made."""

from collections.abc import Mapping, Sequence

from ops.cluster.folder import access, identity_of, is_moved
from ops.stack import secret_files
from plan.caches import addressing
from plan.settings.stack import Settings
from plan.stack import Facts


def gather(
    stack: str,
    settings: Settings,
    files: Mapping[str, str],
    bridge_gateway: str | None,
    published: Mapping[str, Sequence[tuple[str, int]]],
) -> Facts:
    """Everything; the stack's own certificate and the robot's password are made if need be.

    Args:
        stack: its name.
        settings: of the stack.
        files: path -> content of every file that the settings name.
        bridge_gateway: see `Facts`.
        published: see `Facts`.

    Raises:
        SettingsError: the certificate that the settings name can't be used.
        OpsError: what was made before can't be read.
    """
    where = addressing.resolve(settings, bridge_gateway)
    return Facts(
        identity=identity_of(stack),
        moved=is_moved(stack),
        files=files,
        bridge_gateway=bridge_gateway,
        published=published,
        certificate=secret_files.server_certificate(stack, settings, where, files),
        robot_secret=secret_files.robot_secret(stack, settings),
        access=access(stack, [cluster.name for cluster in settings.clusters]),
    )


def public(
    stack: str, settings: Settings, files: Mapping[str, str], bridge_gateway: str | None
) -> Facts:
    """What is no secret: enough to know names, ports and URLs. Nothing is made.

    Args:
        stack: its name.
        settings: of the stack; secrets may be encrypted.
        files: path -> content of every file that the settings name.
        bridge_gateway: see `Facts`.
    """
    return Facts(
        identity=identity_of(stack),
        moved=is_moved(stack),
        files=files,
        bridge_gateway=bridge_gateway,
    )
