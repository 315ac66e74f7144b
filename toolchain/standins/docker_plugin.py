"""The stand-in for Pulumi's `docker` plugin: containers, volumes, networks, images.

Which inputs replace a resource and which change in place, what a refresh reads back and how things
are removed follow the official plugin. Two differences, both stricter:
- a container that was created but does not start, or exits at once, or does not get healthy, is
  removed again and the `up` fails; the official one leaves it and marks it;
- a container's image has to exist; the official one would pull it.
"""

import re
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pulumi.runtime.proto import provider_pb2_grpc

from toolchain.standins import docker_container as words
from toolchain.standins.docker_host import DockerHost, absent, explained, status_of
from toolchain.standins.provider import Found, Function, Made, Provider, Resource, Target
from toolchain.standins.schema import Field, Problem, flag, mapping, record, text, unordered
from toolchain.standins.serving import PluginError, serve
from toolchain.standins.values import Values

HEALTH_POLL_SECONDS = 0.5
REMOVAL_POLL_SECONDS = 0.1
REMOVAL_SECONDS = 30
LOG_LINES_SHOWN = 5
# By another container; by a program, in the words of Docker up to 27, of 28, and of 29.
PORT_TAKEN = re.compile(
    r"Bind for (\S+) failed: port is already allocated"
    r"|listen \w+ (\S+): bind: address already in use"
    r"|failed to bind host port (?:for (\S+?:\d+):\S+|(\S+)/\w+): address already in use"
)
REACHES_THE_LIVE_CONTAINER = ("restart", "maxRetryCount", "memory")


class Container(Resource):
    """A container, made and started from inputs."""

    type_name = "docker:index/container:Container"
    fields = words.FIELDS
    computed = ("id", "bridge", "exitCode", "networkDatas")
    autonamed = True
    delete_before_replace = True

    def __init__(self, host: DockerHost) -> None:
        self._host = host

    def problems(self, inputs: Values) -> Iterable[Problem]:
        """See `docker_container.problems`."""
        return words.problems(inputs)

    def create(self, target: Target, inputs: Values) -> Made:
        """Creates, fills and starts it; removes it again if that fails."""
        api = self._host.connect()
        container = _create_container(api, inputs)
        try:
            info = _start_container(api, container, inputs, self._host.cancelled)
        except BaseException:
            _remove_container(api, container, remove_volumes=True)
            raise
        return Made(id=container, outputs=words.computed(inputs, info))

    def read(self, target: Target, inputs: Values, outputs: Values) -> Found | None:
        """What Docker says about the container now."""
        api = self._host.connect()
        with explained(f"can't read the container {inputs['name']!r}"):
            try:
                info = api.inspect_container(target.id)
            except Exception as error:
                if absent(error):
                    return None
                raise
        found = words.drift(inputs, info)
        return Found(id=target.id, drift=found, outputs=words.computed(inputs, info))

    def update(self, target: Target, old: Values, new: Values) -> Values:
        """Changes on the live container what Docker can change; the rest only reaches the state."""
        api = self._host.connect()
        with explained(f"can't update the container {new['name']!r}"):
            if old.get("mustRun") is False and new.get("mustRun") is not False:
                api.start(target.id)
            if any(old.get(key) != new.get(key) for key in REACHES_THE_LIVE_CONTAINER):
                policy = words.container_config(new)["HostConfig"]["RestartPolicy"]
                memory = (new.get("memory") or 0) * words.MEBIBYTE
                api.update_container(target.id, restart_policy=policy, mem_limit=memory or None)
        return {"ports": old["ports"]} if old.get("ports") else {}

    def delete(self, target: Target, outputs: Values) -> None:
        """Removes it, killed at once unless `destroyGraceSeconds` says otherwise."""
        api = self._host.connect()
        grace = outputs.get("destroyGraceSeconds")
        with explained(f"can't remove the container {outputs.get('name')!r}"):
            if grace:
                _unless_absent(lambda: api.stop(target.id, timeout=grace))
            remove_volumes = outputs.get("removeVolumes") is not False
            _remove_container(api, target.id, remove_volumes=remove_volumes)


class Volume(Resource):
    """A named volume. Making one that exists adopts it, as Docker does."""

    type_name = "docker:index/volume:Volume"
    fields: ClassVar[Mapping[str, Field]] = {
        "name": text(required=True),
        "driver": text(default="local"),
        "driverOpts": mapping(),
        "labels": unordered(words.LABEL),
    }
    computed = ("mountpoint", "driver")
    compared_as_made = ("labels", "driverOpts")
    autonamed = True

    def __init__(self, host: DockerHost) -> None:
        self._host = host

    def create(self, target: Target, inputs: Values) -> Made:
        """Makes it, or adopts the one that has this name."""
        api = self._host.connect()
        name = inputs["name"]
        labels = {label["label"]: label["value"] for label in inputs.get("labels") or []}
        with explained(f"can't create the volume {name!r}"):
            info = api.create_volume(
                name, inputs.get("driver") or "local", inputs.get("driverOpts"), labels
            )
        return Made(id=name, outputs=_volume_outputs(info))

    def read(self, target: Target, inputs: Values, outputs: Values) -> Found | None:
        """What Docker says about the volume now."""
        api = self._host.connect()
        with explained(f"can't read the volume {target.id!r}"):
            try:
                info = api.inspect_volume(target.id)
            except Exception as error:
                if absent(error):
                    return None
                raise
        return Found(id=target.id, drift=self._drift(inputs, info), outputs=_volume_outputs(info))

    def update(self, target: Target, old: Values, new: Values) -> Values:
        """Never happens: every input forces replacement."""
        raise PluginError("nothing about a volume can change in place")

    def delete(self, target: Target, outputs: Values) -> None:
        """Removes the volume of this name, with all that it holds."""
        api = self._host.connect()
        with explained(f"can't remove the volume {target.id!r}"):
            _unless_absent(lambda: api.remove_volume(target.id))

    def _drift(self, inputs: Values, info: dict[str, Any]) -> Values:
        real = {"driver": info["Driver"], **_volume_made(info)}
        changed = self.changes(inputs, {**real, "name": inputs["name"]})
        return {key: real.get(key) for key in changed}


class Network(Resource):
    """A network."""

    type_name = "docker:index/network:Network"
    fields: ClassVar[Mapping[str, Field]] = {
        "name": text(required=True),
        "driver": text(default="bridge"),
        "internal": flag(),
        "attachable": flag(),
        "labels": unordered(words.LABEL),
        "options": mapping(),
        "ipamConfigs": unordered(record(subnet=text(), gateway=text(), ipRange=text())),
    }
    computed = ("scope", "driver", "ipamConfigs")
    autonamed = True

    def __init__(self, host: DockerHost) -> None:
        self._host = host

    def create(self, target: Target, inputs: Values) -> Made:
        """Makes it; an error if the name is taken."""
        api = self._host.connect()
        with explained(f"can't create the network {inputs['name']!r}"):
            made = api.create_network(
                inputs["name"],
                driver=inputs.get("driver") or "bridge",
                options=inputs.get("options"),
                ipam=_ipam(inputs.get("ipamConfigs") or []),
                check_duplicate=True,
                internal=inputs.get("internal") is True,
                attachable=inputs.get("attachable") is True,
                labels={label["label"]: label["value"] for label in inputs.get("labels") or []},
            )
            info = api.inspect_network(made["Id"])
        return Made(id=made["Id"], outputs=_network_outputs(info))

    def read(self, target: Target, inputs: Values, outputs: Values) -> Found | None:
        """What Docker says about the network now."""
        api = self._host.connect()
        with explained(f"can't read the network {inputs['name']!r}"):
            try:
                info = api.inspect_network(target.id)
            except Exception as error:
                if absent(error):
                    return None
                raise
        return Found(id=target.id, outputs=_network_outputs(info))

    def update(self, target: Target, old: Values, new: Values) -> Values:
        """Never happens: every input forces replacement."""
        raise PluginError("nothing about a network can change in place")

    def delete(self, target: Target, outputs: Values) -> None:
        """Removes it; an error while containers use it."""
        api = self._host.connect()
        with explained(f"can't remove the network {outputs.get('name')!r}"):
            _unless_absent(lambda: api.remove_network(target.id))


class RemoteImage(Resource):
    """An image in Docker's own store: the local one if it is there, else pulled."""

    type_name = "docker:index/remoteImage:RemoteImage"
    fields: ClassVar[Mapping[str, Field]] = {
        "name": text(required=True),
        "platform": text(),
        "pullTriggers": unordered(text()),
        "triggers": mapping(),
        "keepLocally": flag(in_place=True),
        "forceRemove": flag(in_place=True),
    }
    computed = ("imageId", "repoDigest")

    def __init__(self, host: DockerHost) -> None:
        self._host = host

    def create(self, target: Target, inputs: Values) -> Made:
        """Uses the local image of this name, or pulls it."""
        api = self._host.connect()
        name = inputs["name"]
        with explained(f"can't get the image {name!r}"):
            info = _image(api, name)
            if info is None:
                _pull(api, name, inputs.get("platform"))
                info = api.inspect_image(name)
        return Made(id=info["Id"] + name, outputs=_image_outputs(name, info))

    def read(self, target: Target, inputs: Values, outputs: Values) -> Found | None:
        """What Docker says about the image now."""
        api = self._host.connect()
        name = inputs["name"]
        with explained(f"can't read the image {name!r}"):
            info = _image(api, name)
        if info is None:
            return None
        return Found(id=info["Id"] + name, outputs=_image_outputs(name, info))

    def update(self, target: Target, old: Values, new: Values) -> Values:
        """Only what a later removal does can change."""
        return {}

    def delete(self, target: Target, outputs: Values) -> None:
        """Removes it from Docker's store, unless it is to be kept."""
        if outputs.get("keepLocally"):
            return
        api = self._host.connect()
        force = outputs.get("forceRemove") is True
        with explained(f"can't remove the image {outputs['name']!r}"):
            _unless_absent(lambda: api.remove_image(outputs["imageId"], force=force))


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
        **_network_outputs(info),
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


def _start_container(
    api: Any, container: str, inputs: Values, cancelled: threading.Event
) -> dict[str, Any]:
    """Completes and starts a created container, and gives what Docker then says about it."""
    name = inputs["name"]
    with explained(f"can't prepare the container {name!r}"):
        for network in (inputs.get("networksAdvanced") or [])[1:]:
            endpoint = words.endpoint_config(network)
            api.connect_container_to_network(
                container,
                network["name"],
                aliases=endpoint.get("Aliases"),
                ipv4_address=endpoint.get("IPAMConfig", {}).get("IPv4Address"),
            )
        if inputs.get("uploads"):
            api.put_archive(container, "/", words.upload_archive(inputs["uploads"]))
    if inputs.get("start") is not False:
        _start(api, container, name)
        if inputs.get("wait"):
            seconds = inputs.get("waitTimeout", words.DEFAULT_WAIT_SECONDS)
            _wait_until_healthy(api, container, name, seconds, cancelled)
    with explained(f"can't read the container {name!r}"):
        info: dict[str, Any] = api.inspect_container(container)
        fail_if_exited(api, info, inputs)
    return info


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


def _wait_until_healthy(
    api: Any, container: str, name: str, seconds: int, cancelled: threading.Event
) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with explained(f"can't read the container {name!r}"):
            health = api.inspect_container(container)["State"].get("Health")
        if health is None:
            raise PluginError(f"the container {name!r} has 'wait' but no healthcheck to wait for")
        if health["Status"] == "healthy":
            return
        if time.monotonic() > deadline:
            said = [" ".join(entry["Output"].split()) for entry in health.get("Log") or []]
            last = f"; its check says: {said[-1]}" if said else ""
            raise PluginError(
                f"the container {name!r} did not get healthy within {seconds} s{last}"
            )
        if cancelled.wait(HEALTH_POLL_SECONDS):
            raise PluginError(f"cancelled before the container {name!r} got healthy")


def fail_if_exited(api: Any, info: dict[str, Any], inputs: Values) -> None:
    """One look right after the start finds what exits at once; later exits are for a refresh."""
    state = info["State"]
    expected = inputs.get("start") is not False and inputs.get("mustRun") is not False
    if expected and not state["Running"]:
        logs = _last_words(api, info["Id"])
        raise PluginError(
            f"the container {inputs['name']!r} exited at once with code {state['ExitCode']}"
            + (f"; it said: {logs}" if logs else "")
        )


def _last_words(api: Any, container: str) -> str:
    """The end of its log; nothing where its log driver keeps none that can be read."""
    from docker.errors import APIError

    try:
        return str(api.logs(container, tail=LOG_LINES_SHOWN).decode(errors="replace").strip())
    except APIError:
        return ""


def _remove_container(api: Any, container: str, *, remove_volumes: bool) -> None:
    """Removes it, and returns only when it is gone: its ports and its name are free then."""
    try:
        api.remove_container(container, v=remove_volumes, force=True)
    except Exception as error:
        if absent(error):
            return
        if status_of(error) != 409 or "already in progress" not in str(error):
            raise
        _wait_until_gone(api, container)


def _wait_until_gone(api: Any, container: str) -> None:
    deadline = time.monotonic() + REMOVAL_SECONDS
    while time.monotonic() < deadline:
        try:
            api.inspect_container(container)
        except Exception as error:
            if absent(error):
                return
            raise
        time.sleep(REMOVAL_POLL_SECONDS)
    raise PluginError(f"Docker has been removing {container[:12]} for {REMOVAL_SECONDS} s")


def _unless_absent(action: Any) -> None:
    try:
        action()
    except Exception as error:
        if not absent(error):
            raise


def _volume_made(info: dict[str, Any]) -> Values:
    labels = info.get("Labels") or {}
    return {
        "labels": [{"label": key, "value": labels[key]} for key in sorted(labels)],
        "driverOpts": info.get("Options") or {},
    }


def _volume_outputs(info: dict[str, Any]) -> Values:
    return {
        "mountpoint": info["Mountpoint"],
        "driver": info["Driver"],
        **_volume_made(info),
    }


def _ipam(configs: list[Values]) -> dict[str, Any] | None:
    if not configs:
        return None
    names = {"subnet": "Subnet", "gateway": "Gateway", "ipRange": "IPRange"}
    pools = [{names[key]: value for key, value in config.items() if value} for config in configs]
    return {"Driver": "default", "Config": pools}


def _network_outputs(info: dict[str, Any]) -> Values:
    pools = (info.get("IPAM") or {}).get("Config") or []
    return {
        "driver": info["Driver"],
        "scope": info["Scope"],
        "ipamConfigs": [_ipam_config(pool) for pool in pools],
    }


def _ipam_config(pool: dict[str, Any]) -> Values:
    config: Values = {
        "subnet": pool.get("Subnet") or "",
        "gateway": pool.get("Gateway") or "",
        "ipRange": pool.get("IPRange") or "",
    }
    auxiliary = pool.get("AuxiliaryAddresses") or pool.get("AuxAddress")
    if auxiliary:
        config["auxAddress"] = auxiliary
    return config


def _attached_container(id_: str, container: dict[str, Any]) -> Values:
    return {
        "containerId": id_,
        "endpointId": container.get("EndpointID") or "",
        "name": container.get("Name") or "",
        "ipv4Address": container.get("IPv4Address") or "",
        "ipv6Address": container.get("IPv6Address") or "",
        "macAddress": container.get("MacAddress") or "",
    }


def _image(api: Any, name: str) -> Any:
    try:
        return api.inspect_image(name)
    except Exception as error:
        if absent(error):
            return None
        raise


def _pull(api: Any, name: str, platform: str | None) -> None:
    with explained(f"can't pull the image {name!r}"):
        for line in api.pull(name, stream=True, decode=True, platform=platform):
            if "error" in line:
                raise PluginError(f"can't pull the image {name!r}: {line['error']}")


def _image_outputs(name: str, info: dict[str, Any]) -> Values:
    repository = re.sub(r"(@.*|:[^:/]*)$", "", name)
    digests = info.get("RepoDigests") or []
    own = [digest for digest in digests if digest.partition("@")[0] == repository]
    return {"imageId": info["Id"], "repoDigest": next(iter([*own, *digests]), "")}


def main() -> None:
    """Serves as `pulumi-resource-docker`."""
    host = DockerHost()
    # The client library takes as long to import as the engine needs for its first calls.
    threading.Thread(target=__import__, args=("docker",), daemon=True).start()
    provider = Provider(
        package="docker",
        resources=[Container(host), Volume(host), Network(host), RemoteImage(host)],
        functions={
            "docker:index/getNetwork:getNetwork": Function(
                fields={"name": text(required=True)},
                call=lambda arguments: get_network(host, arguments),
            )
        },
        config_keys=frozenset({"host"}),
        configure=host.configure,
        cancel=host.cancelled.set,
    )
    serve(lambda server: provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server))
