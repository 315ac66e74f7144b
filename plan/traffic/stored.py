"""When a cache fetched what it holds, by the times of the links in its volume."""

from collections.abc import Mapping

from plan.images.digest import digest_of_hex
from plan.images.volume_images import LAYER, REVISION, TAG, File
from plan.traffic.hits import Stored


def stored(files: Mapping[str, File]) -> Stored:
    """What the links of a volume say.

    Args:
        files: path below `plan.images.storage.ROOT` -> file; what is not a link is left out.
    """
    manifests, blobs = {}, {}
    tags: dict[tuple[str, str], dict[str, int]] = {}
    for path, file in files.items():
        if match := LAYER.fullmatch(path):
            blobs[match[1], digest_of_hex(match[2])] = file.written
        elif match := REVISION.fullmatch(path):
            manifests[match[1], digest_of_hex(match[2])] = file.written
        elif (match := TAG.fullmatch(path)) and match[3]:
            tags.setdefault((match[1], match[2]), {})[digest_of_hex(match[3])] = file.written
    return Stored(
        manifests=manifests,
        blobs=blobs,
        # The registry writes this link again whenever its upstream confirms the tag.
        tags={
            tag: tuple(sorted(digests, key=lambda one: -digests[one]))
            for tag, digests in tags.items()
        },
    )
