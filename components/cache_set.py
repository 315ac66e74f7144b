"""All pull-through caches of a stack, and the wait until every one of them responds."""

from collections.abc import Callable, Sequence

import pulumi
import pulumi_docker as docker

from components.pull_through_cache import PullThroughCache, PullThroughCacheArgs
from plan.caches.cache_plan import CachePlan

Warn = Callable[[str], object]
Probe = Callable[[Sequence[CachePlan], Warn], str | None]


class CacheSet(pulumi.ComponentResource):
    """One `PullThroughCache` per upstream, and the image that they share.

    The set has no properties per upstream, so that a preview shows a new upstream as exactly its
    component, its volume and its container.

    Args:
        name: logical name.
        plans: one per upstream, all with the same image; may be none.
        labels: labels of every container.
        probe: waits until every cache responds; returns a report on what does not work, None if
            everything does; passes what may not work to its second argument; never called in a
            preview.

    Raises (from `ready`):
        pulumi.RunError: with the probe's report, so that `pulumi up` fails with it.
    """

    caches: dict[str, PullThroughCache]
    """Upstream host -> its cache."""

    ready: pulumi.Output[bool]
    """True once every cache has responded; unknown in a preview that changes one."""

    def __init__(
        self,
        name: str,
        plans: Sequence[CachePlan],
        labels: dict[str, str],
        probe: Probe,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("talos-cache:index:CacheSet", name, {}, opts)
        if not plans:  # Harbor replaces all of them
            self.caches, self.ready = {}, pulumi.Output.from_input(True)
            self.register_outputs({"ready": self.ready})
            return
        image = docker.RemoteImage(
            f"{name}-image",
            name=plans[0].image,
            keep_locally=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.caches = {
            plan.host: PullThroughCache(
                plan.slug,
                PullThroughCacheArgs(plan=plan, image_id=image.image_id, labels=labels),
                opts=pulumi.ResourceOptions(parent=self),
            )
            for plan in plans
        }
        containers = [cache.container.id for cache in self.caches.values()]
        self.ready = pulumi.Output.all(*containers).apply(lambda _: _probed(probe, plans))
        self.register_outputs({"image": image.name, "ready": self.ready})


def _probed(probe: Probe, plans: Sequence[CachePlan]) -> bool:
    """Probe on every update, even if nothing changed: a cache may have failed since the last."""
    if not pulumi.runtime.is_dry_run() and (report := probe(plans, pulumi.log.warn)):
        raise pulumi.RunError(report)
    return True
