"""The stand-in for Pulumi's `docker` plugin: containers, volumes, images, and what networks are.

What replaces a resource and what changes in place, what is read back, how things are made and
removed, and what is left when that fails follow the official plugin; its recorded answers are in
`tests/fixtures/plugins`. Behaviour that surprises, and is the same here:
- a container's ports have an order, and what is read back has Docker's;
- a container that exits at once counts as made; one that can't start stays in Docker and in the
  state, as half made, and so a later `up` can replace it;
- what is not said about a command, variables, labels or a healthcheck is no change;
- a changed healthcheck or tmpfs only reaches the state, and comes back with the next refresh.
"""

import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pulumi.runtime.proto import provider_pb2_grpc

from toolchain.fallback_plugins.docker import container as words
from toolchain.fallback_plugins.docker import container_fields
from toolchain.fallback_plugins.docker.host import DockerHost, explained, or_none, status_of
from toolchain.fallback_plugins.docker.image import RemoteImage, local_or_pulled
from toolchain.fallback_plugins.docker.volume import Volume
from toolchain.fallback_plugins.protocol.provider import Provider
from toolchain.fallback_plugins.protocol.resource import (
    Function,
    HalfMadeError,
    Made,
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

# By another container; by a program, in the words of Docker up to 27, of 28, and of 29.
PORT_TAKEN = re.compile(
    r"Bind for (\S+) failed: port is already allocated"
    r"|listen \w+ (\S+): bind: address already in use"
    r"|failed to bind host port (?:for (\S+?:\d+):\S+|(\S+)/\w+): address already in use"
)
REACHES_THE_LIVE_CONTAINER = ("restart", "maxRetryCount", "memory", "memorySwap")


class Container(Resource):
    """A container, made and started from inputs."""

    type_name = "docker:index/container:Container"
    fields = container_fields.FIELDS
    autonamed = True
    delete_before_replace = True

    def __init__(self, host: DockerHost) -> None:
        self._host = host

    def problems(self, inputs: Values) -> Iterable[Problem]:
        """See `docker_container.problems`."""
        return words.problems(inputs)

    def checked(self, inputs: Values) -> Values:
        """With defaults."""
        return dict(with_defaults(self.fields, inputs))

    def changes(self, state: Values, old: Values, new: Values) -> Mapping[str, Change]:
        """See `docker_container.ports_differ` for ports.

        A list that a half-made container's state lacks is called a change, as long as the inputs
        do not have it.
        """
        lacking = {
            key: Change("ADD", replaces=key != "networkDatas")
            for key in ("command", "entrypoints", "networkDatas")
            if key not in state and key not in new
        }
        return {**lacking, **self._changed_inputs(state, old, new)}

    def _changed_inputs(self, state: Values, old: Values, new: Values) -> Mapping[str, Change]:
        before, after = state.get("ports"), new.get("ports")
        if not isinstance(before, list) or not isinstance(after, list) or UNKNOWN in after:
            return super().changes(state, old, new)
        after = words.with_chosen_ports(before, after)
        found = super().changes(state, old, {**new, "ports": after})
        if words.ports_differ(
            before,
            [{**port, "ip": port["ip"] or container_fields.ALL_INTERFACES} for port in after],
        ):
            return found
        return {path: change for path, change in found.items() if not path.startswith("ports")}

    def planned(self, target: Target, inputs: Values) -> Made:
        """See `docker_container.planned_in_preview`."""
        return Made(id="", state=words.planned_in_preview(inputs))

    def planned_update(self, state: Values, inputs: Values) -> Values:
        """See `docker_container.planned_update`."""
        return words.planned_update(self.fields, state, inputs)

    def create(self, target: Target, inputs: Values) -> Made:
        """Creates, fills and starts it; pulls its image if Docker has none of this name."""
        api = self._host.connect()
        with explained(f"can't create the container {inputs['name']!r}"):
            local_or_pulled(api, inputs["image"])
        id_ = _create_container(api, inputs)
        state = {**words.planned(inputs), "id": id_}
        with _half_made(Made(id=id_, state=state)):
            _fill(api, id_, inputs)
            if inputs.get("start") is not False:
                _start(api, id_, inputs["name"])
            with explained(f"can't read the container {inputs['name']!r}"):
                return Made(
                    id=id_, state=words.read_back(state, api.inspect_container(id_), made=True)
                )

    def read(self, target: Target, state: Values) -> Made | None:
        """What Docker says about the container now."""
        api = self._host.connect()
        with explained(f"can't read the container {state.get('name')!r}"):
            info = or_none(lambda: api.inspect_container(target.id))
        if info is None:
            return None
        return Made(id=target.id, state=words.read_back(state, info, made=False))

    def update(self, target: Target, state: Values, inputs: Values) -> Values:
        """Changes on the live container what Docker can change; the rest only reaches the state."""
        api = self._host.connect()
        name = inputs["name"]
        changed = self.planned_update(state, inputs)
        must_run = state.get("mustRun") is False and changed.get("mustRun") is True
        with _half_made(Made(id=target.id, state=changed)):
            if must_run and changed.get("start") is not False:
                _start(api, target.id, name)
            if any(state.get(key) != changed.get(key) for key in REACHES_THE_LIVE_CONTAINER):
                with explained(f"can't update the container {name!r}"):
                    _update_container(api, target.id, changed)
        return changed

    def delete(self, target: Target, state: Values) -> None:
        """Stops it, at once unless `destroyGraceSeconds` says otherwise, and removes it."""
        api = self._host.connect()
        volumes = state.get("removeVolumes") is not False
        with explained(f"can't remove the container {state.get('name')!r}"):
            seconds = state.get("destroyGraceSeconds") or 0
            or_none(lambda: api.stop(target.id, timeout=seconds))
            or_none(lambda: _remove_container(api, target.id, remove_volumes=volumes))
            or_none(lambda: api.wait(target.id, condition="not-running"))


def get_network(host: DockerHost, arguments: Values) -> Values:
    """A network by name or id, as Docker reports it: without a gateway where Docker knows none."""
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
            made = api.create_container_from_config(words.container_config(inputs), name)
        except Exception as error:
            if status_of(error) == 409:
                raise PluginError(
                    f"can't create the container {name!r}: the name is already in use by another "
                    f"container; remove that one (`docker rm -f {name}`) or choose another name"
                ) from error
            raise
    return str(made["Id"])


@contextmanager
def _half_made(made: Made) -> Iterator[None]:
    """What goes wrong now leaves something that the engine has to know of."""
    try:
        yield
    except PluginError as error:
        raise HalfMadeError(str(error), made) from error


def _fill(api: Any, container: str, inputs: Values) -> None:
    uploads = inputs.get("uploads") or []
    for upload in uploads:
        given = [key for key in ("content", "contentBase64") if upload.get(key)]
        if len(given) != 1:
            raise PluginError(
                f"the upload {upload['file']!r} needs exactly one of content and contentBase64, "
                "not empty"
            )
    if uploads:
        with explained(f"can't upload files to the container {inputs['name']!r}"):
            api.put_archive(container, "/", words.upload_archive(uploads))


def _start(api: Any, container: str, name: str) -> None:
    with explained(f"can't start the container {name!r}"):
        try:
            api.start(container)
        except Exception as error:
            if where := port_taken(str(error)):
                raise PluginError(
                    f"can't start the container {name!r}: port {where} is already allocated; "
                    "stop what uses it, or choose another port"
                ) from error
            raise


def port_taken(said: str) -> str | None:
    """The address and port that Docker could not publish because something else has it."""
    taken = PORT_TAKEN.search(said)
    return next(filter(None, taken.groups())) if taken else None


def _update_container(api: Any, container: str, state: Values) -> None:
    config = words.container_config(state)["HostConfig"]
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
    """Serves as `pulumi-resource-docker`."""
    host = DockerHost()
    # The client library takes as long to import as the engine needs for its first calls.
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
