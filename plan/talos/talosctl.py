"""What all talosctl command lines have in common."""

from collections.abc import Iterable
from dataclasses import dataclass

from plan.talos.versions import (
    USUAL_ARCHITECTURE,
)

# Variables that sudo must pass on. The proxies are for talosctl, which downloads boot images.
KEPT_BY_SUDO = (
    "HOME,TALOS_HOME,TALOSCONFIG,KUBECONFIG,"
    "HTTP_PROXY,HTTPS_PROXY,NO_PROXY,http_proxy,https_proxy,no_proxy"
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Paths that a run of talosctl reads and writes.

    Attributes:
        program: talosctl itself.
        state: folder with this cluster's state and nothing else: talosctl deletes it.
        talosconfig: file with the client's configuration.
        patches: (scope, file) of every machine config patch, in order.
        architecture: of this machine, as Go names it.
    """

    program: str
    state: str
    talosconfig: str
    patches: tuple[tuple[str, str], ...] = ()
    architecture: str = USUAL_ARCHITECTURE


def repeated(flag: str, values: Iterable[str]) -> list[str]:
    """Repeat a flag for each value."""
    return [part for value in values for part in (flag, value)]
