"""Volumes."""

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from toolchain.fallback_plugins.docker import container_fields
from toolchain.fallback_plugins.docker.host import DockerHost, explained, or_none, status_of
from toolchain.fallback_plugins.protocol.resource import (
    Made,
    Resource,
    Target,
)
from toolchain.fallback_plugins.protocol.schema import (
    Field,
    mapping,
    text,
    unordered,
)
from toolchain.fallback_plugins.protocol.server import PluginError
from toolchain.fallback_plugins.protocol.values import UNKNOWN, Values

IN_USE_SECONDS = 30
IN_USE_POLL_SECONDS = 0.5


class Volume(Resource):
    """A named volume. Like Docker, it adopts one that exists already."""

    type_name = "docker:index/volume:Volume"
    fields: ClassVar[Mapping[str, Field]] = {
        "name": text(required=True),
        "driver": text(computed=True),
        "driverOpts": mapping(),
        "labels": unordered(container_fields.LABEL),
    }
    autonamed = True

    def __init__(self, host: DockerHost) -> None:
        self._host = host

    def planned(self, target: Target, inputs: Values) -> Made:
        """The inputs; only Docker knows where the volume is."""
        unknown = ("id", "driver", "mountpoint")
        return Made(id="", state={"labels": [], **dict.fromkeys(unknown, UNKNOWN), **inputs})

    def create(self, target: Target, inputs: Values) -> Made:
        """Create it, or adopt the one of this name, whose labels show only after a refresh."""
        api = self._host.connect()
        name = inputs["name"]
        labels = {label["label"]: label["value"] for label in inputs.get("labels") or []}
        with explained(f"can't create the volume {name!r}"):
            info = api.create_volume(
                name, inputs.get("driver") or None, inputs.get("driverOpts"), labels
            )
        real = {**_volume_state(info), "driverOpts": info.get("Options") or None}
        return Made(id=name, state={**real, "labels": [], **inputs})

    def read(self, target: Target, state: Values) -> Made | None:
        """The volume as Docker reports it now."""
        api = self._host.connect()
        with explained(f"can't read the volume {target.id!r}"):
            info = or_none(lambda: api.inspect_volume(target.id))
        return None if info is None else Made(id=target.id, state={**state, **_volume_state(info)})

    def update(self, target: Target, state: Values, inputs: Values) -> Values:
        """Never called: every input forces replacement."""
        raise PluginError("nothing about a volume can change in place")

    def delete(self, target: Target, state: Values) -> None:
        """Remove the volume of this name and everything in it; wait while it is in use."""
        api = self._host.connect()
        deadline = time.monotonic() + IN_USE_SECONDS
        with explained(f"can't remove the volume {target.id!r}"):
            while not _removed_volume(api, target.id, last=time.monotonic() > deadline):
                time.sleep(IN_USE_POLL_SECONDS)


def _removed_volume(api: Any, name: str, *, last: bool) -> bool:
    """Whether it is gone; False while something uses it, or an error if this try is the `last`."""
    try:
        or_none(lambda: api.remove_volume(name))
    except Exception as error:
        if last or status_of(error) != 409 or "in use" not in str(error):
            raise
        return False
    return True


def _volume_state(info: dict[str, Any]) -> Values:
    labels = info.get("Labels") or {}
    return {
        "id": info["Name"],
        "mountpoint": info["Mountpoint"],
        "driver": info["Driver"],
        "labels": [{"label": key, "value": labels[key]} for key in sorted(labels)],
        "driverOpts": info.get("Options") or {},
    }
