"""The table of all keys that a stack file may have, in the order of the documentation.

`python -m tests.write_documents` generates documents from it: see `plan.settings.documents`.
"""

from plan.settings import cluster_keys, harbor_keys, stack_keys
from plan.settings.key import CHOICE, REQUIRED, TEXT, Group, Key
from plan.settings.stack_keys import DOCKER_BRIDGE, QEMU_BRIDGE

__all__ = ["DEFAULTS", "DOCKER_BRIDGE", "GROUPS", "KEYS", "QEMU_BRIDGE", "REQUIRED", "TEXT_KEYS"]

KEYS: dict[str, Key] = {
    key.path: key
    for key in (
        *stack_keys.TOP,
        *stack_keys.CACHE,
        *stack_keys.PROXY,
        *stack_keys.UPSTREAM,
        *cluster_keys.KEYS,
        *harbor_keys.HARBOR,
        *harbor_keys.CREDENTIALS_KEYS,
        *harbor_keys.LOGIN_KEYS,
    )
}
GROUPS: dict[str, Group] = {
    group.path: group
    for group in (
        stack_keys.CACHE_GROUP,
        stack_keys.PROXY_GROUP,
        stack_keys.UPSTREAM_GROUP,
        cluster_keys.GROUP,
        harbor_keys.HARBOR_GROUP,
        harbor_keys.CREDENTIALS_GROUP,
        *harbor_keys.LOGIN_GROUPS,
    )
}
DEFAULTS: dict[str, object] = {path: key.default for path, key in KEYS.items()}
# Top-level keys whose value is text: the others reach the program as JSON.
TEXT_KEYS = frozenset(
    path for path, key in KEYS.items() if "." not in path and key.type in (TEXT, CHOICE)
)
