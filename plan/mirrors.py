"""The client side: what tells Talos nodes to ask the caches.

Two formats say the same thing: documents of kind RegistryMirrorConfig (nodes from Talos 1.12) and
`machine.registries` (older nodes; deprecated but accepted since). A third, the value of talosctl's
`--registry-mirror`, can only say `host=url`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

from plan.caches import CachePlan


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """One mirror entry of a machine config.

    Attributes:
        host: registry host of the image reference.
        url: endpoint, with the path `/v2` exactly where `override_path` is set: without it Talos
            and containerd add `/v2` themselves, with it they take the path as it stands.
        skip_fallback: whether nodes never ask the upstream itself.
    """

    host: str
    url: str
    skip_fallback: bool = False
    override_path: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether `--registry-mirror` can express it."""
        return not (self.skip_fallback or self.override_path)


def build(plans: Iterable[CachePlan]) -> tuple[Mirror, ...]:
    """One mirror per cache, in the order of the plans."""
    return tuple(
        Mirror(
            host=plan.host,
            url=f"{plan.endpoint}/v2" if plan.override_path else plan.endpoint,
            skip_fallback=plan.skip_fallback,
            override_path=plan.override_path,
        )
        for plan in plans
    )


def documents_patch(mirrors: Iterable[Mirror]) -> str:
    """YAML documents for nodes from Talos 1.12 on; empty text without mirrors."""
    return yaml.safe_dump_all([_document(mirror) for mirror in mirrors], sort_keys=False)


def legacy_patch(mirrors: Iterable[Mirror]) -> str:
    """A `machine.registries.mirrors` fragment for nodes before Talos 1.12."""
    entries = {mirror.host: _legacy_entry(mirror) for mirror in mirrors}
    return yaml.safe_dump({"machine": {"registries": {"mirrors": entries}}}, sort_keys=False)


def registry_mirror_values(mirrors: Iterable[Mirror]) -> tuple[str, ...]:
    """`host=url` for each mirror that is plain; the others need a patch."""
    return tuple(f"{mirror.host}={mirror.url}" for mirror in mirrors if mirror.is_plain)


def _document(mirror: Mirror) -> dict[str, Any]:
    endpoint: dict[str, Any] = {"url": mirror.url}
    if mirror.override_path:
        endpoint["overridePath"] = True
    document: dict[str, Any] = {
        "apiVersion": "v1alpha1",
        "kind": "RegistryMirrorConfig",
        "name": mirror.host,
        "endpoints": [endpoint],
    }
    if mirror.skip_fallback:
        document["skipFallback"] = True
    return document


def _legacy_entry(mirror: Mirror) -> dict[str, Any]:
    entry: dict[str, Any] = {"endpoints": [mirror.url]}
    if mirror.override_path:
        entry["overridePath"] = True
    if mirror.skip_fallback:
        entry["skipFallback"] = True
    return entry
