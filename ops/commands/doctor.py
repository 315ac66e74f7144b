"""`doctor`: checks a stack and says how to fix what is wrong; changes nothing.

It finds caches that are missing or keep restarting, upstreams that do not answer, and above all
mirrors of live nodes that point to a cache that is gone. Nodes do not report those: they bypass
them, or wait for half a minute at every request.
"""

import argparse
import json
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import docker

from host import progress_bar
from host.installed import set_up_line
from ops import whose
from ops.cluster import node_updates, talosctl
from ops.cluster.talosctl import Talosctl
from ops.commands import doctor_nodes
from ops.commands.arguments import add_json
from ops.commands.doctor_caches import answers_of, inspected, of_caches, strays, unwell_of, whose_is
from ops.docker import api
from ops.docker.api import DockerUnavailableError
from ops.errors import OpsError
from ops.stack import machine_facts, stack_files
from plan import diagnosis, ownership
from plan.caches import addressing
from plan.caches.cache_plan import CachePlan
from plan.diagnosis import (
    OK,
    PROBLEM,
    WARNING,
    Finding,
)
from plan.ownership import Recorded
from plan.settings.stack import Settings
from plan.stack import build
from plan.talos.cluster import ClusterPlan
from plan.talos.unsupported import refusals

# The worst comes last, where it is seen.
ORDER = (OK, WARNING, PROBLEM)


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The arguments of the command line."""

    stack: str
    as_json: bool


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_json(command)


def run(arguments: Arguments) -> int:
    """Check caches, upstreams and mirrors of live nodes; exits with 1 if there is a problem."""
    settings = stack_files.check(arguments.stack)
    findings = sorted(
        examined(arguments.stack, settings), key=lambda finding: ORDER.index(finding.state)
    )
    healthy = all(finding.state != PROBLEM for finding in findings)
    print(_as_json(findings, healthy=healthy) if arguments.as_json else _table(findings))
    return int(not healthy)


def examined(stack: str, settings: Settings) -> list[Finding]:
    """All findings on a stack, good and bad."""
    installed, findings = _talosctl(stack, settings)
    try:
        client = api.connect()
    except DockerUnavailableError as error:
        text = f"{error} Neither caches nor nodes were checked."
        return [*findings, diagnosis.problem("Docker", text, f"make up STACK={stack}")]
    where = api.endpoint()
    version = client.version()["Version"]
    text = f"{version} answers at {where}" if where.source else f"{version} answers"
    findings.append(diagnosis.well("Docker", text))
    state, unread = _recorded(client, stack)
    findings += unread
    whose.we_are(stack, state)
    plans, clusters = _planned(client, stack, settings)
    nodes = sum(len(plan.settings.node_ips) for plan in clusters) if installed else 0
    with progress_bar.bar("checking", len(plans) + nodes, unit="check") as bar:
        first = inspected(client, plans)
        own = {
            name: container
            for name, container in first.items()
            if not whose_is(stack, state, container)
        }
        answers = answers_of(client, settings, plans, own, bar.update)
        unwell, upstreams, unasked = unwell_of(client, stack, plans, own)
        findings += unasked
        if installed:
            for plan in clusters:
                for of_node in doctor_nodes.examined(client, plan, installed, settings.cache.image):
                    findings += of_node
                    bar.update()
        findings += of_caches(
            client, stack, settings, plans, first, answers, unwell, upstreams, state
        )
    if settings.behind_harbor:
        from ops.commands import doctor_harbor  # takes a quarter of a second, and is rarely needed

        findings += doctor_harbor.examined(stack, settings)
    findings += strays(client, stack, plans, state)
    return findings + doctor_nodes.left_over(stack, clusters)


def _talosctl(stack: str, settings: Settings) -> tuple[Talosctl | None, list[Finding]]:
    if not settings.clusters:
        return None, []
    try:
        installed = talosctl.find()
    except (OpsError, subprocess.TimeoutExpired) as error:
        text = f"{node_updates.why(error)} The nodes were not checked."
        return None, [diagnosis.problem("talosctl", text, f"make up STACK={stack}")]
    refused = [
        diagnosis.problem(
            "talosctl", f"{refusal.path}: {refusal.found}, but {refusal.rule}", refusal.fix
        )
        for of_cluster in settings.clusters
        for refusal in refusals(of_cluster, installed.version)
    ]
    return installed, list(dict.fromkeys(refused)) or [
        diagnosis.well("talosctl", f"{installed.version}, {installed.program}")
    ]


def _recorded(client: docker.DockerClient, stack: str) -> tuple[Recorded, list[Finding]]:
    """What is in the state; if it can't be read, what the labels of containers say."""
    try:
        return whose.recorded(stack), []
    except OpsError as error:
        text = f"it can't be read, so this report goes by the containers' labels: {error}"
    us = whose.we_are(stack, Recorded())
    own = [
        container.id
        for container in api.containers(client)
        if container.has_labels({ownership.IDENTITY_LABEL: us.identity})
    ]
    works = f"{set_up_line(stack)} && pulumi stack export --stack {stack} > /dev/null"
    fix = f"neither up nor down works until this does: {works}"
    return Recorded(containers=frozenset(own)), [diagnosis.problem("state", text, fix)]


def _planned(
    client: docker.DockerClient, stack: str, settings: Settings
) -> tuple[tuple[CachePlan, ...], tuple[ClusterPlan, ...]]:
    """The caches and the clusters, as the program plans them."""
    needs_gateway = addressing.needs_bridge_gateway(settings)
    bridge = api.bridge_gateway(client) if needs_gateway else None
    files = stack_files.named_files(settings)
    plan = build(stack, settings, machine_facts.public(stack, settings, files, bridge))
    return plan.caches, plan.clusters


def _as_json(findings: Sequence[Finding], *, healthy: bool) -> str:
    return json.dumps(
        {"healthy": healthy, "findings": [asdict(finding) for finding in findings]}, indent=2
    )


def _table(findings: Sequence[Finding]) -> str:
    lines = []
    for finding in findings:
        lines.append(f"{finding.state:<9}{finding.about}: {finding.text}")
        if finding.fix:
            lines.append(f"{'':<9}fix: {finding.fix}")
    counts = Counter(finding.state for finding in findings)
    counted = (_count(counts[state], state) for state in (WARNING, PROBLEM))
    lines.append(", ".join([f"{counts[OK]} ok", *counted]))
    return "\n".join(lines)


def _count(count: int, state: str) -> str:
    return f"1 {state}" if count == 1 else f"{count} {state}s"
