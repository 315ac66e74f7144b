"""What the caches' volumes hold, with the days of last use."""

from collections.abc import Sequence

import docker

from ops.commands import ledger
from ops.docker.volume_contents import contents
from ops.docker.volumes import opened
from plan.caches.cache import Cache
from plan.images.volume_images import VolumeImages


def read(
    client: docker.DockerClient, stack: str, caches: Sequence[Cache]
) -> tuple[VolumeImages, ...]:
    """The images in the volumes of these caches; of a cache without a volume nothing.

    Raises:
        OpsError: a volume or a log can't be read.
    """
    ledgers = ledger.updated(client, stack, caches)
    days = {host: uses.days for host, uses in ledgers.items()}
    with opened(client, caches) as volumes:
        return tuple(
            VolumeImages(volume, (), days.get(volume.host, {})) for volume in contents(volumes)
        )
