"""The client side: the machine config that makes Talos nodes pull through the caches.

There are two equivalent formats: documents of kind RegistryMirrorConfig (nodes from Talos 1.12 on)
and `machine.registries` (older nodes; still accepted, but deprecated). A third, the value of
talosctl's `--registry-mirror`, can express only `host=url`.
"""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import yaml

from plan import engine_yaml
from plan.caches.cache_plan import CachePlan
from plan.settings.credentials import Credentials

API_VERSION = "v1alpha1"
MIRROR_KIND = "RegistryMirrorConfig"
AUTH_KIND = "RegistryAuthConfig"
TLS_KIND = "RegistryTLSConfig"


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """One mirror entry of a machine config.

    Attributes:
        host: registry host of the image reference.
        url: endpoint, with the path `/v2` if and only if `override_path` is set: without it, Talos
            and containerd add `/v2` themselves; with it, they use the path as it is.
        skip_fallback: whether nodes never fall back to the upstream itself.
        ca: CA that nodes must trust for the endpoint, PEM; empty if they do already.
        login: the nodes' login at the endpoint; None if anyone may pull.
    """

    host: str
    url: str
    skip_fallback: bool = False
    override_path: bool = False
    ca: str = ""
    login: Credentials | None = None

    @property
    def is_plain(self) -> bool:
        """Whether `--registry-mirror` can express it."""
        return not (self.skip_fallback or self.override_path or self.ca or self.login)

    @property
    def endpoint(self) -> str:
        """Host and port of the endpoint: its name in a node's TLS and auth entries."""
        return urlsplit(self.url).netloc


def build(plans: Iterable[CachePlan]) -> tuple[Mirror, ...]:
    """One mirror per cache, in the order of the plans."""
    return tuple(
        Mirror(
            host=plan.host,
            url=plan.endpoint + _path(plan),
            skip_fallback=plan.skip_fallback,
            override_path=bool(_path(plan)),
            ca=plan.ca,
            login=plan.login,
        )
        for plan in plans
    )


def in_order(mirrors: Iterable[Mirror]) -> tuple[Mirror, ...]:
    """Sort by host, not by endpoint: then an upstream that moves does not reorder the others."""
    return tuple(sorted(mirrors, key=lambda mirror: mirror.host))


def _path(plan: CachePlan) -> str:
    """The path of a cache's URL, for nodes that use it as it is; empty for others."""
    if plan.path_prefix:
        return f"/v2/{plan.path_prefix}"
    return "/v2" if plan.override_path else ""


def documents_patch(mirrors: Iterable[Mirror]) -> str:
    """YAML documents for nodes from Talos 1.12 on; an empty text without mirrors."""
    every = tuple(mirrors)
    documents = [document(mirror) for mirror in every]
    documents += [*tls_documents(every).values(), *auth_documents(every).values()]
    return yaml.safe_dump_all(documents, sort_keys=False)


def legacy_patch(mirrors: Iterable[Mirror]) -> str:
    """A `machine.registries` fragment for nodes before Talos 1.12."""
    every = tuple(mirrors)
    registries: dict[str, Any] = {"mirrors": {each.host: legacy_entry(each) for each in every}}
    if configs := legacy_configs(every):
        registries["config"] = configs
    return yaml.safe_dump({"machine": {"registries": registries}}, sort_keys=False)


def tls_documents(mirrors: Iterable[Mirror]) -> dict[str, dict[str, Any]]:
    """Endpoint -> the document with the CA of its certificate."""
    return {
        mirror.endpoint: {**_head(TLS_KIND, mirror.endpoint), "ca": mirror.ca}
        for mirror in mirrors
        if mirror.ca
    }


def auth_documents(mirrors: Iterable[Mirror]) -> dict[str, dict[str, Any]]:
    """Endpoint -> the document with its login; a secret."""
    return {
        mirror.endpoint: {**_head(AUTH_KIND, mirror.endpoint), **_login(mirror.login)}
        for mirror in mirrors
        if mirror.login
    }


def legacy_configs(mirrors: Iterable[Mirror]) -> dict[str, dict[str, Any]]:
    """`machine.registries.config`: endpoint -> CA, in base64, and login."""
    configs: dict[str, dict[str, Any]] = {}
    for mirror in mirrors:
        if mirror.ca:
            ca = base64.b64encode(mirror.ca.encode()).decode()
            configs.setdefault(mirror.endpoint, {})["tls"] = {"ca": ca}
        if mirror.login:
            configs.setdefault(mirror.endpoint, {})["auth"] = _login(mirror.login)
    return configs


def _head(kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "name": name}


def _login(login: Credentials) -> dict[str, str]:
    return {"username": login.username, "password": login.password}


def registry_mirror_values(mirrors: Iterable[Mirror]) -> tuple[str, ...]:
    """`host=url` for each plain mirror; the others need a patch."""
    return tuple(f"{mirror.host}={mirror.url}" for mirror in mirrors if mirror.is_plain)


def legacy_registries(config: Mapping[str, Any], part: str) -> dict[str, Any]:
    """`machine.registries.<part>` of a machine config or patch: host -> entry.

    Args:
        config: one document.
        part: `mirrors` or `config`.
    """
    value: Any = config
    for key in ("machine", "registries", part):
        value = value.get(key) if isinstance(value, Mapping) else None
    return dict(value) if isinstance(value, Mapping) else {}


def patch_documents(patch: str) -> list[dict[str, Any]]:
    """The YAML documents of a patch; none if it is not YAML, or has anything but mappings."""
    try:
        documents = [each for each in engine_yaml.documents(patch) if each is not None]
    except engine_yaml.NotYamlError:
        return []
    only_mappings = all(isinstance(document, dict) for document in documents)
    return documents if only_mappings else []


def document(mirror: Mirror) -> dict[str, Any]:
    """The mirror as a document of its own."""
    endpoint: dict[str, Any] = {"url": mirror.url}
    if mirror.override_path:
        endpoint["overridePath"] = True
    config = {**_head(MIRROR_KIND, mirror.host), "endpoints": [endpoint]}
    if mirror.skip_fallback:
        config["skipFallback"] = True
    return config


def legacy_entry(mirror: Mirror) -> dict[str, Any]:
    """The mirror's entry in `machine.registries.mirrors`."""
    entry: dict[str, Any] = {"endpoints": [mirror.url]}
    if mirror.override_path:
        entry["overridePath"] = True
    if mirror.skip_fallback:
        entry["skipFallback"] = True
    return entry
