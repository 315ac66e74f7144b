"""Reads the stack's configuration as the engine hands it over; the only place that does."""

import json
from collections.abc import Mapping

import pulumi
from pulumi.runtime import config as runtime_config

from plan.settings import decode


def read() -> dict[str, object]:
    """Every key of this project's namespace, without the namespace, values decoded.

    The official language host passes the configuration by the environment, an embedded one (the
    Automation API, the stand-in) sets it in the process; `pulumi.Config` looks in both, but can't
    list keys, and unknown keys are mistakes that a user wants to hear of.
    """
    namespace = f"{pulumi.get_project()}:"
    given: Mapping[str, object] = {
        **runtime_config.get_config_env(),
        **runtime_config.CONFIG.get(),
    }
    return decode(
        {
            key.removeprefix(namespace): value if isinstance(value, str) else json.dumps(value)
            for key, value in given.items()
            if key.startswith(namespace)
        }
    )


def has_plain_credentials() -> bool:
    """Whether the stack has credentials that were not stored as a secret."""
    key = f"{pulumi.get_project()}:credentials"
    secret = key in runtime_config.get_config_secret_keys_env()
    given = key in runtime_config.get_config_env() or key in runtime_config.CONFIG.get()
    return given and not secret and not runtime_config.is_config_secret(key)
