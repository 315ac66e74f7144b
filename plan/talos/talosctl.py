"""What every line of talosctl has in common."""

from collections.abc import Iterable
from dataclasses import dataclass

from plan.talos.versions import (
    USUAL_ARCHITECTURE,
)

# The variables that sudo has to let through; talosctl downloads boot images itself.
KEPT_BY_SUDO = (
    "HOME,TALOS_HOME,TALOSCONFIG,KUBECONFIG,"
    "HTTP_PROXY,HTTPS_PROXY,NO_PROXY,http_proxy,https_proxy,no_proxy"
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run of talosctl finds and leaves its files; paths.

    Attributes:
        program: talosctl itself.
        state: folder that holds this cluster's state and nothing else: talosctl deletes it.
        talosconfig: file for the client's configuration.
        patches: (scope, file) of every machine config patch, in order.
        architecture: of this machine, as Go names it.
    """

    program: str
    state: str
    talosconfig: str
    patches: tuple[tuple[str, str], ...] = ()
    architecture: str = USUAL_ARCHITECTURE


def repeated(flag: str, values: Iterable[str]) -> list[str]:
    """A flag once for each value."""
    return [part for value in values for part in (flag, value)]
