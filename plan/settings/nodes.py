"""The nodes of a cluster: versions, images, machines, disks and ports."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from plan import sizes
from plan.images import grammar
from plan.problems import text
from plan.settings.checks import (
    Checks,
    is_integer,
    number_in,
)
from plan.settings.key import leaf

AUTO = "auto"
# Logical name of the only cluster of a stack.
ONE = "cluster"
BOOT_PRESETS = ("iso", "iso-secureboot", "pxe", "disk-image")
# For machines that boot without a machine config.
MAINTENANCE = "maintenance"
PRESETS = (*BOOT_PRESETS, MAINTENANCE)
DISK_DRIVERS = ("virtio", "ide", "ahci", "scsi", "nvme", "megaraid")
EXACT_VERSION = re.compile(r"v?[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}(-[a-z0-9.]+)?")
IMAGE = re.compile(
    # Without a dot or a port the first part would belong to a repository on docker.io.
    rf"(?=localhost/|[^/]*[.:]){grammar.HOST}/{grammar.PATH}:{grammar.TAG}"
)
SCHEMATIC = re.compile(r"[0-9a-f]{64}")
SIZE = sizes.whole(("MiB", "GiB"), most_digits=6)
_PORT = r"([1-9][0-9]{0,4})"
EXPOSED = re.compile(rf"(?P<ip>[0-9.]+:)?(?P<host>{_PORT}):(?P<node>{_PORT})/(tcp|udp)")
_HIGHEST_PORT = 65535


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Size of one kind of node: CPUs as talosctl reads them ("2", "0.5"), memory in MiB."""

    cpus: str
    memory: int


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A disk of a VM; the size in MiB."""

    driver: str
    size: int


def parse_version(check: Checks, key: str, group: Mapping[str, Any]) -> str | None:
    """An exact version of Talos or Kubernetes, with its v; None if it is not set."""
    value = group.get(leaf(key))
    if value is None:
        return None
    if not isinstance(value, str) or not EXACT_VERSION.fullmatch(value):
        check.refuse(key, value)
        return None
    # Tags of Talos images and Kubernetes releases start with the "v" that people leave out.
    return f"v{value.removeprefix('v')}"


def parse_talosctl_version(check: Checks, group: Mapping[str, Any]) -> str:
    """An exact version, or `auto`."""
    if group.get("talosctlVersion") in (None, AUTO):
        return AUTO
    return parse_version(check, "cluster.talosctlVersion", group) or AUTO


def parse_image(check: Checks, value: object) -> str | None:
    """A node image with an exact tag; None for the default one."""
    return _optional(check, "cluster.image", value, IMAGE)


def parse_schematic(check: Checks, value: object) -> str | None:
    """ID of an Image Factory schematic, if set."""
    return _optional(check, "cluster.schematic", value, SCHEMATIC)


def _optional(check: Checks, key: str, value: object, pattern: re.Pattern[str]) -> str | None:
    if value is None or (isinstance(value, str) and pattern.fullmatch(value)):
        return value
    check.refuse(key, value)
    return None


def parse_machine(check: Checks, group: Mapping[str, Any], kind: str) -> Machine:
    """CPUs and memory of one kind of node."""
    return Machine(
        cpus=_cpus(check, f"cluster.{kind}Cpus", group),
        memory=_memory(check, f"cluster.{kind}Memory", group),
    )


def _cpus(check: Checks, key: str, group: Mapping[str, Any]) -> str:
    value = group.get(leaf(key))
    if value is None:
        return check.default(key)
    number, row = number_in(value), check.key(key)
    if (isinstance(number, float) or is_integer(number)) and row.least <= number <= row.most:
        return f"{number:g}"
    check.refuse(key, value)
    return check.default(key)


def _memory(check: Checks, key: str, group: Mapping[str, Any]) -> int:
    value = group.get(leaf(key))
    size = _mebibytes(check.default(key) if value is None else value)
    if size is None or size < 512:
        row, in_mib = check.key(key), _mebibytes(f"{text(value)}MiB")
        fix = f"write {in_mib}MiB" if in_mib and in_mib >= 512 else row.fix
        check.add(key, value, row.rule, fix)
    return size or 0


def _mebibytes(value: object) -> int | None:
    size = sizes.parse_whole(value, SIZE)
    return None if size is None else size // sizes.BYTES["MiB"]


def parse_presets(check: Checks, value: object) -> tuple[str, ...]:
    """Presets of `talosctl cluster create qemu`."""
    presets = _texts(check, "cluster.presets", value, PRESETS.__contains__)
    if presets and len(set(presets) & set(BOOT_PRESETS)) != 1:
        rule = f"exactly one boot preset: {', '.join(BOOT_PRESETS)}"
        check.add("cluster.presets", value, rule, 'write something like ["iso"]')
    return presets


def parse_exposed_ports(check: Checks, value: object) -> tuple[str, ...]:
    """Ports of the first control plane node for Docker to publish."""
    return _texts(check, "cluster.exposedPorts", value, _is_exposed_port)


def _is_exposed_port(item: str) -> bool:
    match = EXPOSED.fullmatch(item)
    if match is None or max(int(match["host"]), int(match["node"])) > _HIGHEST_PORT:
        return False
    try:
        ipaddress.IPv4Address((match["ip"] or "0.0.0.0:")[:-1])
    except ValueError:
        return False
    return True


def parse_disks(check: Checks, value: object) -> tuple[Disk, ...]:
    """Disks of QEMU machines."""
    split = (item.split(":") for item in _texts(check, "cluster.disks", value, _is_disk))
    return tuple(Disk(driver=driver, size=_mebibytes(size) or 0) for driver, size in split)


def _is_disk(item: str) -> bool:
    driver, _, size = item.partition(":")
    return driver in DISK_DRIVERS and bool(_mebibytes(size))


def _texts(
    check: Checks, key: str, value: object, is_right: Callable[[str], bool]
) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        row = check.key(key)
        check.add(key, value, f"a list of {row.rule}", f"write something like [{row.example}]")
        return ()
    for index, item in enumerate(value):
        if not isinstance(item, str) or not is_right(item):
            check.refuse(key, item, f"{key}[{index}]")
    return tuple(item for item in value if isinstance(item, str) and is_right(item))
