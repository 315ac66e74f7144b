"""The client side: what tells Talos nodes to ask the caches.

Two formats say the same thing: documents of kind RegistryMirrorConfig (nodes from Talos 1.12) and
`machine.registries` (older nodes; deprecated but accepted since). A third, the value of talosctl's
`--registry-mirror`, can only say `host=url`.
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
        url: endpoint, with the path `/v2` exactly where `override_path` is set: without it Talos
            and containerd add `/v2` themselves, with it they take the path as it stands.
        skip_fallback: whether nodes never ask the upstream itself.
        ca: what nodes have to trust for the endpoint, PEM; empty where they do already.
        login: what nodes say who they are with; None where anybody may pull.
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
        """Host and port of the endpoint: its name among a node's TLS and auth entries."""
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
    """By host, whatever their endpoints are: an upstream that moves changes no other's place."""
    return tuple(sorted(mirrors, key=lambda mirror: mirror.host))


def _path(plan: CachePlan) -> str:
    """What stands behind a cache's address where nodes take the path as it stands."""
    if plan.path_prefix:
        return f"/v2/{plan.path_prefix}"
    return "/v2" if plan.override_path else ""


def documents_patch(mirrors: Iterable[Mirror]) -> str:
    """YAML documents for nodes from Talos 1.12 on; empty text without mirrors."""
    made = tuple(mirrors)
    documents = [document(mirror) for mirror in made]
    documents += [*tls_documents(made).values(), *auth_documents(made).values()]
    return yaml.safe_dump_all(documents, sort_keys=False)


def legacy_patch(mirrors: Iterable[Mirror]) -> str:
    """A `machine.registries` fragment for nodes before Talos 1.12."""
    made = tuple(mirrors)
    registries: dict[str, Any] = {"mirrors": {each.host: legacy_entry(each) for each in made}}
    if configs := legacy_configs(made):
        registries["config"] = configs
    return yaml.safe_dump({"machine": {"registries": registries}}, sort_keys=False)


def tls_documents(mirrors: Iterable[Mirror]) -> dict[str, dict[str, Any]]:
    """Endpoint -> the document that says which CA its certificate comes from."""
    return {
        mirror.endpoint: {**_head(TLS_KIND, mirror.endpoint), "ca": mirror.ca}
        for mirror in mirrors
        if mirror.ca
    }


def auth_documents(mirrors: Iterable[Mirror]) -> dict[str, dict[str, Any]]:
    """Endpoint -> the document with the login for it; a secret."""
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
    """`host=url` for each mirror that is plain; the others need a patch."""
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
    """The YAML documents of a patch; none where it is no YAML, or holds anything but mappings."""
    try:
        documents = [found for found in engine_yaml.documents(patch) if found is not None]
    except engine_yaml.NotYamlError:
        return []
    whole = all(isinstance(document, dict) for document in documents)
    return documents if whole else []


def document(mirror: Mirror) -> dict[str, Any]:
    """The mirror as a document of its own."""
    endpoint: dict[str, Any] = {"url": mirror.url}
    if mirror.override_path:
        endpoint["overridePath"] = True
    made = {**_head(MIRROR_KIND, mirror.host), "endpoints": [endpoint]}
    if mirror.skip_fallback:
        made["skipFallback"] = True
    return made


def legacy_entry(mirror: Mirror) -> dict[str, Any]:
    """The mirror as the value of its host in `machine.registries.mirrors`."""
    entry: dict[str, Any] = {"endpoints": [mirror.url]}
    if mirror.override_path:
        entry["overridePath"] = True
    if mirror.skip_fallback:
        entry["skipFallback"] = True
    return entry
