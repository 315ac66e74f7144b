"""The fallback for Pulumi's `docker` plugin: containers, volumes, images, and network lookups.

What replaces a resource and what changes in place, what is read back, how resources are created
and removed, and what is left if that fails follow the official plugin; its recorded answers are in
`tests/fixtures/plugins`. Surprising behaviour that is the same here:
- a container's ports have an order, and Docker's order is read back;
- a container that exits at once counts as created; one that can't start stays in Docker and in the
  state, as partly created, so that a later `up` can replace it;
- leaving out a command, variables, labels or a healthcheck is not a change;
- a changed healthcheck or tmpfs only reaches the state, and comes back with the next refresh.
"""

import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pulumi.runtime.proto import provider_pb2_grpc

from toolchain.fallback_plugins.docker import container as conversion
from toolchain.fallback_plugins.docker import container_fields
from toolchain.fallback_plugins.docker.host import DockerHost, explained, or_none, status_of
from toolchain.fallback_plugins.docker.image import RemoteImage, local_or_pulled
from toolchain.fallback_plugins.docker.volume import Volume
from toolchain.fallback_plugins.protocol.provider import Provider
from toolchain.fallback_plugins.protocol.resource import (
    Function,
    Made,
    PartlyCreatedError,
    Resource,
    Target,
)
from toolchain.fallback_plugins.protocol.schema import (
    Change,
    Problem,
    text,
    with_defaults,
)
from toolchain.fallback_plugins.protocol.server import PluginError, serve
from toolchain.fallback_plugins.protocol.values import UNKNOWN, Values

# Taken by another container; by a program, as Docker up to 27, 28, and 29 report it.
PORT_TAKEN = re.compile(
    r"Bind for (\S+) failed: port is already allocated"
    r"|listen \w+ (\S+): bind: address already in use"
    r"|failed to bind host port (?:for (\S+?:\d+):\S+|(\S+)/\w+): address already in use"
)
REACHES_THE_LIVE_CONTAINER = ("restart", "maxRetryCount", "memory", "memorySwap")


class Container(Resource):
    """A container, created and started from inputs."""

    type_name = "docker:index/container:Container"
    fields = container_fields.FIELDS
    autonamed = True
    delete_before_replace = True

    def __init__(self, host: DockerHost) -> None:
        self._host = host

    def problems(self, inputs: Values) -> Iterable[Problem]:
        """See `container.problems`."""
        return conversion.problems(inputs)

    def checked(self, inputs: Values) -> Values:
        """The inputs with defaults."""
        return dict(with_defaults(self.fields, inputs))

    def changes(self, state: Values, old: Values, new: Values) -> Mapping[str, Change]:
        """What differs; see `container.ports_differ` for ports.

        A list that is missing from a partly created container's state is reported as a change, as
        long as the inputs do not have it.
        """
        missing = {
            key: Change("ADD", replaces=key != "networkDatas")
            for key in ("command", "entrypoints", "networkDatas")
            if key not in state and key not in new
        }
        return {**missing, **self._changed_inputs(state, old, new)}

    def _changed_inputs(self, state: Values, old: Values, new: Values) -> Mapping[str, Change]:
        before, after = state.get("ports"), new.get("ports")
        if not isinstance(before, list) or not isinstance(after, list) or UNKNOWN in after:
            return super().changes(state, old, new)
        after = conversion.with_chosen_ports(before, after)
        changes = super().changes(state, old, {**new, "ports": after})
        if conversion.ports_differ(
            before,
            [{**port, "ip": port["ip"] or container_fields.ALL_INTERFACES} for port in after],
        ):
            return changes
        return {path: change for path, change in changes.items() if not path.startswith("ports")}

    def planned(self, target: Target, inputs: Values) -> Made:
        """See `container.planned_in_preview`."""
        return Made(id="", state=conversion.planned_in_preview(inputs))

    def planned_update(self, state: Values, inputs: Values) -> Values:
        """See `container.planned_update`."""
        return conversion.planned_update(self.fields, state, inputs)

    def create(self, target: Target, inputs: Values) -> Made:
        """Create, fill and start it; pull its image if Docker has none of this name."""
        api = self._host.connect()
        with explained(f"can't create the container {inputs['name']!r}"):
            local_or_pulled(api, inputs["image"])
        id_ = _create_container(api, inputs)
        state = {**conversion.planned(inputs), "id": id_}
        with _partly_created(Made(id=id_, state=state)):
            _fill(api, id_, inputs)
            if inputs.get("start") is not False:
                _start(api, id_, inputs["name"])
            with explained(f"can't read the container {inputs['name']!r}"):
                info = api.inspect_container(id_)
                return Made(id=id_, state=conversion.read_back(state, info, created=True))

    def read(self, target: Target, state: Values) -> Made | None:
        """The container as Docker reports it now."""
        api = self._host.connect()
        with explained(f"can't read the container {state.get('name')!r}"):
            info = or_none(lambda: api.inspect_container(target.id))
        if info is None:
            return None
        return Made(id=target.id, state=conversion.read_back(state, info, created=False))

    def update(self, target: Target, state: Values, inputs: Values) -> Values:
        """Change on the live container what Docker can change; the rest only in the state."""
        api = self._host.connect()
        name = inputs["name"]
        changed = self.planned_update(state, inputs)
        must_run = state.get("mustRun") is False and changed.get("mustRun") is True
        with _partly_created(Made(id=target.id, state=changed)):
            if must_run and changed.get("start") is not False:
                _start(api, target.id, name)
            if any(state.get(key) != changed.get(key) for key in REACHES_THE_LIVE_CONTAINER):
                with explained(f"can't update the container {name!r}"):
                    _update_container(api, target.id, changed)
        return changed

    def delete(self, target: Target, state: Values) -> None:
        """Stop it, at once unless `destroyGraceSeconds` says otherwise, and remove it."""
        api = self._host.connect()
        volumes = state.get("removeVolumes") is not False
        with explained(f"can't remove the container {state.get('name')!r}"):
            seconds = state.get("destroyGraceSeconds") or 0
            or_none(lambda: api.stop(target.id, timeout=seconds))
            or_none(lambda: _remove_container(api, target.id, remove_volumes=volumes))
            or_none(lambda: api.wait(target.id, condition="not-running"))


def get_network(host: DockerHost, arguments: Values) -> Values:
    """A network by name or id, as Docker reports it: without a gateway if Docker has none."""
    api = host.connect()
    with explained(f"can't read the network {arguments['name']!r}"):
        info = api.inspect_network(arguments["name"])
    return {
        "id": info["Id"],
        "name": info["Name"],
        "internal": info.get("Internal") is True,
        "options": info.get("Options") or {},
        "containers": [
            _attached_container(id_, container)
            for id_, container in sorted((info.get("Containers") or {}).items())
        ],
        "driver": info["Driver"],
        "scope": info["Scope"],
        "ipamConfigs": [
            _ipam_config(pool) for pool in (info.get("IPAM") or {}).get("Config") or []
        ],
    }


def _create_container(api: Any, inputs: Values) -> str:
    name = inputs["name"]
    with explained(f"can't create the container {name!r}"):
        try:
            created = api.create_container_from_config(conversion.container_config(inputs), name)
        except Exception as error:
            if status_of(error) == 409:
                raise PluginError(
                    f"can't create the container {name!r}: the name is already in use by another "
                    f"container; remove that one (`docker rm -f {name}`) or choose another name"
                ) from error
            raise
    return str(created["Id"])


@contextmanager
def _partly_created(resource: Made) -> Iterator[None]:
    """A failure in here leaves a resource that the engine must know about."""
    try:
        yield
    except PluginError as error:
        raise PartlyCreatedError(str(error), resource) from error


def _fill(api: Any, container: str, inputs: Values) -> None:
    uploads = inputs.get("uploads") or []
    for upload in uploads:
        contents = [key for key in ("content", "contentBase64") if upload.get(key)]
        if len(contents) != 1:
            raise PluginError(
                f"the upload {upload['file']!r} must have exactly one of content and "
                "contentBase64, and it must not be empty"
            )
    if uploads:
        with explained(f"can't upload files to the container {inputs['name']!r}"):
            api.put_archive(container, "/", conversion.upload_archive(uploads))


def _start(api: Any, container: str, name: str) -> None:
    with explained(f"can't start the container {name!r}"):
        try:
            api.start(container)
        except Exception as error:
            if address := port_taken(str(error)):
                raise PluginError(
                    f"can't start the container {name!r}: port {address} is already allocated; "
                    "stop what uses it, or choose another port"
                ) from error
            raise


def port_taken(error_text: str) -> str | None:
    """The address and port that Docker could not publish because something else has it."""
    taken = PORT_TAKEN.search(error_text)
    return next(filter(None, taken.groups())) if taken else None


def _update_container(api: Any, container: str, state: Values) -> None:
    config = conversion.container_config(state)["HostConfig"]
    api.update_container(
        container,
        restart_policy=config["RestartPolicy"],
        mem_limit=config.get("Memory"),
        memswap_limit=config.get("MemorySwap"),
    )


def _remove_container(api: Any, container: str, *, remove_volumes: bool) -> None:
    try:
        api.remove_container(container, v=remove_volumes, force=True)
    except Exception as error:
        if status_of(error) != 409 or "already in progress" not in str(error):
            raise


def _ipam_config(pool: dict[str, Any]) -> Values:
    return {
        "subnet": pool.get("Subnet") or "",
        "gateway": pool.get("Gateway") or "",
        "ipRange": pool.get("IPRange") or "",
        "auxAddress": pool.get("AuxiliaryAddresses") or pool.get("AuxAddress") or {},
    }


def _attached_container(id_: str, container: dict[str, Any]) -> Values:
    return {
        "containerId": id_,
        "endpointId": container.get("EndpointID") or "",
        "name": container.get("Name") or "",
        "ipv4Address": container.get("IPv4Address") or "",
        "ipv6Address": container.get("IPv6Address") or "",
        "macAddress": container.get("MacAddress") or "",
    }


def main() -> None:
    """Run as `pulumi-resource-docker`."""
    host = DockerHost()
    # Importing the client library takes as long as the engine's first calls.
    threading.Thread(target=__import__, args=("docker",), daemon=True).start()
    provider = Provider(
        package="docker",
        resources=[Container(host), Volume(host), RemoteImage(host)],
        functions={
            "docker:index/getNetwork:getNetwork": Function(
                fields={"name": text(required=True)},
                call=lambda arguments: get_network(host, arguments),
            )
        },
        config_keys=frozenset({"host"}),
        configure=host.configure,
    )
    serve(lambda server: provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server))
