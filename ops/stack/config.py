"""Reads the stack's configuration as the engine hands it over; the only place that does."""

import json
from collections.abc import Mapping

import pulumi
from pulumi.runtime import config as runtime_config

from host import passphrases
from ops.docker import docker_config
from ops.stack.stack_files import named_files
from plan.settings import config_keys
from plan.settings.credentials import SECRET_KEYS, is_absent
from plan.settings.stack import Settings, decode, parse


def read(stack: str) -> tuple[Settings, dict[str, str]]:
    """This stack's settings, and the content of every file that they name.

    Raises:
        SettingsError: with every mistake in them, or every file that can't be read.
        OpsError: the user's docker configuration has none of the credentials that the stack wants.
    """
    values = _values()
    plain = {key for key in SECRET_KEYS if not is_absent(values.get(key)) and not _is_secret(key)}
    public = passphrases.is_public(stack)
    settings = parse(values, stack, plain_secrets=plain, public=public)
    return docker_config.with_logins(settings), named_files(settings)


def given() -> Mapping[str, object]:
    """The whole configuration, of every namespace, as the engine has it.

    The official language host passes the configuration in the environment, an embedded one (the
    Automation API, the fallback plugin) sets it in the process. `pulumi.Config` looks in both, but
    can't list keys, and unknown keys are mistakes to report.
    """
    return {**runtime_config.get_config_env(), **runtime_config.CONFIG.get()}


def _values() -> dict[str, object]:
    """Every key of this project's namespace, without the namespace, values decoded."""
    as_text = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in given().items()
    }
    return decode(config_keys.own(as_text))


def _is_secret(name: str) -> bool:
    """Whether the stack has stored this key as a secret."""
    key = f"{pulumi.get_project()}:{name}"
    known = key in runtime_config.get_config_secret_keys_env()
    return known or runtime_config.is_config_secret(key)
