"""One pull-through cache: a registry container in front of one upstream, and its volume.

It knows nothing of the other caches and does not pull the image (the set does, once). Nor does it
wait: the set probes all of its caches together.
"""

from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from plan.caches.cache_plan import (
    CREDENTIAL_HELPER_PATH,
    DATA_PATH,
    REGISTRY_COMMAND,
    REGISTRY_PORT,
    UPSTREAM_WATCH_PATH,
    VOLUME_LABELS,
    CacheFile,
    CachePlan,
)
from plan.caches.upstream_watchdog import DEBUG_ADDRESS

# By default Docker's logs grow without limit, and adding one later replaces every container.
LOG_OPTS = {"max-size": "10m", "max-file": "3"}
# Connections to an upstream that drops packets fail after three seconds, instead of 30 seconds for
# a new one and 15 minutes for an established one. The same goes for connections from nodes.
SYSCTLS = {"net.ipv4.tcp_syn_retries": "1", "net.ipv4.tcp_retries2": "2"}
# The same for name servers; the second attempt covers a lost packet.
DNS_OPTS = ("timeout:1", "attempts:2")


@dataclass(frozen=True, kw_only=True)
class PullThroughCacheArgs:
    """Inputs of one cache.

    Attributes:
        plan: names, ports and environment.
        image_id: ID of the registry's image ("sha256:..."), already on this machine.
        labels: labels of the container.
    """

    plan: CachePlan
    image_id: pulumi.Input[str]
    labels: dict[str, str]


class PullThroughCache(pulumi.ComponentResource):
    """A `registry` container and the volume with what it has cached."""

    volume: docker.Volume
    """The volume with the cached images."""

    container: docker.Container
    """The registry."""

    def __init__(
        self, name: str, args: PullThroughCacheArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("talos-cache:index:PullThroughCache", name, {}, opts)
        self.volume = self._volume(f"{name}-volume", args.plan)
        self.container = self._container(args)
        self.register_outputs({"container": self.container.name, "volume": self.volume.name})

    def _volume(self, name: str, plan: CachePlan) -> docker.Volume:
        return docker.Volume(
            name,
            name=plan.name,
            labels=[
                docker.VolumeLabelArgs(label=label, value=value)
                for label, value in VOLUME_LABELS.items()
            ],
            opts=pulumi.ResourceOptions(
                parent=self,
                retain_on_delete=plan.keep_data,
                # An existing volume may have other labels, or be on a disk of its own. Removing
                # these would replace it, and everything in it would be lost.
                ignore_changes=["labels", "driver", "driverOpts"],
            ),
        )

    def _container(self, args: PullThroughCacheArgs) -> docker.Container:
        plan = args.plan
        return docker.Container(
            plan.logical_container,
            name=plan.name,
            image=args.image_id,
            restart="always",
            must_run=True,
            envs=[f"{key}={value}" for key, value in plan.env],
            labels=[
                docker.ContainerLabelArgs(label=label, value=value)
                for label, value in sorted(args.labels.items())
            ],
            ports=[
                docker.ContainerPortArgs(
                    internal=REGISTRY_PORT, external=port.port, ip=port.address
                )
                for port in plan.published
            ],
            volumes=[
                docker.ContainerVolumeArgs(volume_name=self.volume.name, container_path=DATA_PATH)
            ],
            uploads=_uploads(plan),
            # The watchdog starts the command, and restarts it if nothing else helps.
            entrypoints=[UPSTREAM_WATCH_PATH] if plan.upstream_watch else None,
            command=list(REGISTRY_COMMAND) if plan.upstream_watch else None,
            sysctls=SYSCTLS,
            dns_opts=list(DNS_OPTS),
            healthcheck=docker.ContainerHealthcheckArgs(
                tests=["CMD", "wget", "-q", "--spider", f"http://{DEBUG_ADDRESS}/debug/health"],
                interval="10s",
                timeout="5s",
                retries=3,
            ),
            log_driver="json-file",
            log_opts=LOG_OPTS,
            opts=pulumi.ResourceOptions(
                parent=self,
                # Both would need the same name and the same port.
                delete_before_replace=True,
                # They name the owner. A change of them alone replaces nothing; a container that
                # is recreated for another reason gets the current ones.
                ignore_changes=["labels"],
            ),
        )


def _uploads(plan: CachePlan) -> list[docker.ContainerUploadArgs]:
    programs = [(CREDENTIAL_HELPER_PATH, _helper_content(plan))]
    if plan.upstream_watch:
        programs.append((UPSTREAM_WATCH_PATH, plan.upstream_watch))
    return [
        *(
            docker.ContainerUploadArgs(file=path, content=content, executable=True)
            for path, content in programs
        ),
        *(_file(file) for file in plan.files),
    ]


def _file(file: CacheFile) -> docker.ContainerUploadArgs:
    if not file.is_secret:
        return docker.ContainerUploadArgs(file=file.path, content=file.content)
    content = pulumi.Output.secret(file.content)
    return docker.ContainerUploadArgs(file=file.path, content=content, permissions="0600")


def _helper_content(plan: CachePlan) -> pulumi.Input[str]:
    if plan.has_credentials:
        return pulumi.Output.secret(plan.credential_helper)
    return plan.credential_helper
