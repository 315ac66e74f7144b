"""Images: pulled, and kept if the program says so."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from toolchain.fallback_plugins.docker import container as conversion
from toolchain.fallback_plugins.docker.host import DockerHost, explained, or_none
from toolchain.fallback_plugins.protocol.resource import (
    Made,
    Resource,
    Target,
)
from toolchain.fallback_plugins.protocol.schema import (
    Field,
    flag,
    mapping,
    text,
    unordered,
)
from toolchain.fallback_plugins.protocol.server import PluginError
from toolchain.fallback_plugins.protocol.values import UNKNOWN, Values


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

    def __init__(self, host: DockerHost) -> None:
        self._host = host

    def planned(self, target: Target, inputs: Values) -> Made:
        """The inputs; only Docker knows which image it is."""
        unknown = ("id", "imageId", "repoDigest")
        return Made(id="", state={**inputs, **dict.fromkeys(unknown, UNKNOWN)})

    def planned_update(self, state: Values, inputs: Values) -> Values:
        """The state after an update, which changes only how the image is removed later."""
        return conversion.planned_update(self.fields, state, inputs)

    def create(self, target: Target, inputs: Values) -> Made:
        """Use the local image of this name, or pulls it."""
        api = self._host.connect()
        with explained(f"can't get the image {inputs['name']!r}"):
            return _image(inputs, local_or_pulled(api, inputs["name"], inputs.get("platform")))

    def read(self, target: Target, state: Values) -> Made | None:
        """The image as Docker reports it now."""
        api = self._host.connect()
        with explained(f"can't read the image {state['name']!r}"):
            info = or_none(lambda: api.inspect_image(state["name"]))
        return None if info is None else _image(state, info)

    def update(self, target: Target, state: Values, inputs: Values) -> Values:
        """The same as create: the image may have been removed meanwhile."""
        return self.create(target, self.planned_update(state, inputs)).state

    def delete(self, target: Target, state: Values) -> None:
        """Remove this name of the image from Docker's store, unless it is to be kept."""
        if state.get("keepLocally"):
            return
        api = self._host.connect()
        force = state.get("forceRemove") is True
        with explained(f"can't remove the image {state['name']!r}"):
            or_none(lambda: api.remove_image(state["name"], force=force))


def local_or_pulled(api: Any, name: str, platform: str | None = None) -> dict[str, Any]:
    """Docker's report on an image, which is pulled if Docker does not have it."""
    info = or_none(lambda: api.inspect_image(name))
    if info is None:
        _pull(api, name, platform)
        info = api.inspect_image(name)
    return dict(info)


def _pull(api: Any, name: str, platform: str | None) -> None:
    with explained(f"can't pull the image {name!r}"):
        # An empty login: the official plugin does not read ~/.docker/config.json either.
        for line in api.pull(name, stream=True, decode=True, platform=platform, auth_config={}):
            if "error" in line:
                raise PluginError(f"can't pull the image {name!r}: {line['error']}")


def _image(state: Values, info: dict[str, Any]) -> Made:
    id_ = info["Id"] + state["name"]
    digest = _repo_digest(state["name"], info.get("RepoDigests") or [])
    return Made(id=id_, state={**state, "id": id_, "imageId": info["Id"], "repoDigest": digest})


def _repo_digest(name: str, digests: list[str]) -> str:
    repository = re.sub(r"(@.*|:[^:/]*)$", "", name)
    own = [digest for digest in digests if digest.partition("@")[0] == repository]
    return next(iter([*own, *digests]), "")
