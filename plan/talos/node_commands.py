"""Command lines that read or change one live node."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace

from plan.talos.mirrors import (
    AUTH_KIND,
    legacy_registries,
    patch_documents,
)
from plan.talos.talosctl import Place, repeated
from plan.talos.versions import (
    LIVE_AUTH_FROM,
    NO_REBOOT_MODE_FROM,
    Version,
)

NO_REBOOT = "no-reboot"


def read_config_argv(place: Place, node: str) -> list[str]:
    """The line that prints a node's machine config."""
    return [*_to_node(place, node), "get", "machineconfig", "v1alpha1", "--output", "yaml"]


def boot_argv(place: Place, node: str) -> list[str]:
    """The line that prints a node's boot ID, which every boot changes."""
    return [*_to_node(place, node), "read", "/proc/sys/kernel/random/boot_id"]


def service_argv(place: Place, node: str, service: str) -> list[str]:
    """The line that prints the status of a node's service; `spec` says whether it is `healthy`."""
    return [*_to_node(place, node), "get", "services", service, "--output", "yaml"]


def patch_argv(place: Place, node: str, mode: str) -> list[str]:
    """The line that applies the place's patches to a live node in one step."""
    patches = repeated("--patch", (f"@{file}" for _, file in place.patches))
    return [*_to_node(place, node), "patch", "machineconfig", *patches, "--mode", mode]


def patch_line(place: Place, node: str, patches: Iterable[str]) -> str:
    """A shell line to paste that applies these patches, in this order, to a live node."""
    argv = patch_argv(replace(place, patches=()), node, NO_REBOOT)
    return shlex.join([*argv, *repeated("--patch", patches)])


def patch_mode(
    talosctl: Version, nodes: Version, texts: Iterable[str], *, allow_reboot: bool
) -> str:
    """How to apply patches: without a reboot, unless one is allowed and may be needed.

    Raises:
        ValueError: a reboot is needed, and this talosctl can't request one with a patch.
    """
    if not allow_reboot:
        return NO_REBOOT
    if not any(needs_reboot(text, nodes) for text in texts):
        return "auto"
    if talosctl.release >= NO_REBOOT_MODE_FROM:
        raise ValueError(f"talosctl {talosctl} can't reboot nodes for a patch; 1.13 can")
    return "reboot"


def needs_reboot(patch: str, nodes: Version) -> bool:
    """Whether this patch takes effect on a live node only after a reboot.

    Up to Talos 1.13, that is so for registry credentials: a node's CRI reads them at boot.
    """
    if nodes.release >= LIVE_AUTH_FROM:
        return False
    return any(
        document.get("kind") == AUTH_KIND
        or any(
            isinstance(entry, Mapping) and entry.get("auth")
            for entry in legacy_registries(document, "config").values()
        )
        for document in patch_documents(patch)
    )


def reboots(printed: str) -> bool:
    """Whether a node reboots for a patch, from what talosctl prints when it has applied it."""
    return "Applied configuration with a reboot" in printed


def _to_node(place: Place, node: str) -> list[str]:
    return [place.program, "--talosconfig", place.talosconfig, "--nodes", node]
