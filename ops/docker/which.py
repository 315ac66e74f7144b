"""Stops a run in which Pulumi's Docker provider would use another Docker than everything else."""

from collections.abc import Collection

from host import docker_endpoint
from host.installed import set_up_line
from ops.docker import api
from ops.errors import OpsError

# Settings that select the provider's Docker. The others (`registryAuth`) are the user's choice.
LEADING = ("host", "context", "certPath", "caMaterial", "certMaterial", "keyMaterial", "sshOpts")


def check(stack: str, configured: Collection[str]) -> None:
    """Check that the provider uses the same Docker as this project, without connecting to it.

    Args:
        stack: its name.
        configured: keys of the stack's whole configuration, with their namespaces.

    Raises:
        OpsError: they differ; says how to make them agree.
        DockerUnavailableError: which Docker is used can't be determined.
    """
    if leading := [f"docker:{key}" for key in LEADING if f"docker:{key}" in configured]:
        raise OpsError(
            f"{', '.join(leading)}: only Pulumi's Docker provider would use it, not talosctl, "
            "doctor and the rest. Remove it from the stack's configuration (pulumi config rm "
            f"{leading[0]} --stack {stack}) and choose Docker with docker context use NAME, or "
            f"DOCKER_HOST; then: make up STACK={stack}"
        )
    used, by_provider = api.endpoint(), docker_endpoint.without_context()
    if not docker_endpoint.same(used, by_provider):
        raise OpsError(
            f"Docker is at {used}, but Pulumi's Docker provider does not know contexts and would "
            f"use {by_provider}. Set up this shell first, which tells it: {set_up_line(stack)}"
        )
