"""What a stack's plans need to know about this machine, gathered before they are made."""

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
    """All facts; the stack's own certificate and the robot's password are created if needed.

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
    """Facts without secrets: enough to know names, ports and URLs. Nothing is created.

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
