"""The properties of a container that the fallback implements, and how they are read back."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from toolchain.fallback_plugins.protocol.schema import (
    Field,
    flag,
    many,
    mapping,
    record,
    text,
    unordered,
    whole,
)
from toolchain.fallback_plugins.protocol.values import Value, Values

MEBIBYTE = 1024 * 1024
ALL_INTERFACES = "0.0.0.0"  # noqa: S104 -- what Docker does with a port that names none
DEFAULT_WAIT_SECONDS = 60
DEFAULT_READ_MILLISECONDS = 15000
PERMISSIONS = r"0[0-7]{3}"
NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")
DURATIONS = {
    "interval": "Interval",
    "timeout": "Timeout",
    "startPeriod": "StartPeriod",
    "startInterval": "StartInterval",
}
LABEL = record(label=text(required=True), value=text(required=True))
PORT = record(
    internal=whole(required=True),
    external=whole(),
    ip=text(default=ALL_INTERFACES),
    protocol=text(default="tcp"),
)
VOLUME = record(volumeName=text(), containerPath=text(), hostPath=text(), readOnly=flag())
UPLOAD = record(
    file=text(required=True),
    content=text(),
    contentBase64=text(),
    executable=flag(),
    permissions=text(pattern=PERMISSIONS),
)
HEALTHCHECK = record(
    in_place=True,
    computed=True,
    tests=many(text()),
    retries=whole(),
    **{key: text(default="0s") for key in DURATIONS},
)
FIELDS: Mapping[str, Field] = {
    "name": text(required=True),
    "image": text(required=True),
    "command": many(text(), computed=True),
    "entrypoints": many(text(), computed=True),
    "envs": unordered(text(), computed=True),
    "labels": unordered(LABEL, computed=True),
    "user": text(computed=True),
    "ports": many(PORT),
    "volumes": unordered(VOLUME, as_one=True),
    "uploads": unordered(UPLOAD, as_one=True),
    "hosts": unordered(record(host=text(required=True), ip=text(required=True))),
    "dnsOpts": unordered(text()),
    "networkMode": text(default="bridge"),
    "sysctls": mapping(),
    "logDriver": text(computed=True),
    "logOpts": mapping(),
    "stopTimeout": whole(computed=True),
    "healthcheck": HEALTHCHECK,
    "restart": text(
        default="no", in_place=True, choices=("no", "on-failure", "always", "unless-stopped")
    ),
    "maxRetryCount": whole(in_place=True),
    "memory": whole(in_place=True),
    "memorySwap": whole(in_place=True),
    "tmpfs": mapping(in_place=True),
    "start": flag(default=True, in_place=True),
    "mustRun": flag(default=True, in_place=True),
    "waitTimeout": whole(default=DEFAULT_WAIT_SECONDS, in_place=True),
    "containerReadRefreshTimeoutMilliseconds": whole(
        default=DEFAULT_READ_MILLISECONDS, in_place=True
    ),
    "destroyGraceSeconds": whole(in_place=True),
    "removeVolumes": flag(default=True, in_place=True),
}
# The official plugin's state of inputs that this one does not implement.
NOT_IMPLEMENTED: Values = {
    **dict.fromkeys(("attach", "logs", "readOnly", "rm", "stdinOpen", "tty", "wait"), False),
    **{f"device{way}{unit}": [] for way in ("Read", "Write") for unit in ("Bps", "Iops")},
    **{key: [] for key in ("deviceRequests", "devices", "mounts", "networksAdvanced", "ulimits")},
    "securityOpts": [],
    "memoryReservation": 0,
}
EMPTY_WHERE_ABSENT = ("envs", "hosts", "labels", "ports", "uploads", "volumes")
UNKNOWN_WHERE_ABSENT = (
    *("bridge", "command", "containerLogs", "entrypoints", "envs", "exitCode", "healthcheck"),
    *("hostname", "id", "init", "ipcMode", "labels", "logDriver", "networkDatas", "platform"),
    *("runtime", "securityOpts", "shmSize", "stopSignal", "stopTimeout"),
)
EMPTY_UPLOAD: Values = {
    "content": "",
    "contentBase64": "",
    "executable": False,
    "permissions": "",
    "source": "",
    "sourceHash": "",
}
EMPTY_VOLUME: Values = {"fromContainer": "", "hostPath": "", "selinuxRelabel": "", "volumeName": ""}
# What a refresh reads back, besides ports, healthcheck, image and READ_BACK_OR_EMPTY.
READ_BACK: Mapping[str, Callable[[dict[str, Any]], Value]] = {
    "name": lambda info: info["Name"].lstrip("/"),
    "bridge": lambda info: info["NetworkSettings"].get("Bridge") or "",
    "networkDatas": lambda info: _network_datas(info),
    "hostname": lambda info: info["Config"].get("Hostname") or "",
    "domainname": lambda info: info["Config"].get("Domainname") or "",
    "command": lambda info: info["Config"].get("Cmd") or [],
    "entrypoints": lambda info: info["Config"].get("Entrypoint") or [],
    "user": lambda info: info["Config"].get("User") or "",
    "workingDir": lambda info: info["Config"].get("WorkingDir") or "",
    "stopSignal": lambda info: info["Config"].get("StopSignal") or "",
    "stopTimeout": lambda info: info["Config"].get("StopTimeout") or 0,
    "restart": lambda info: info["HostConfig"]["RestartPolicy"]["Name"],
    "maxRetryCount": lambda info: info["HostConfig"]["RestartPolicy"]["MaximumRetryCount"],
    "init": lambda info: info["HostConfig"].get("Init") is True,
    "runtime": lambda info: info["HostConfig"].get("Runtime") or "",
    "platform": lambda info: info.get("Platform") or "",
    "privileged": lambda info: info["HostConfig"].get("Privileged") is True,
    "publishAllPorts": lambda info: info["HostConfig"].get("PublishAllPorts") is True,
    "memory": lambda info: _mebibytes(info["HostConfig"].get("Memory")),
    "memorySwap": lambda info: _mebibytes(info["HostConfig"].get("MemorySwap")),
    "shmSize": lambda info: _mebibytes(info["HostConfig"].get("ShmSize")),
    "cpuShares": lambda info: info["HostConfig"].get("CpuShares") or 0,
    "cpuSet": lambda info: info["HostConfig"].get("CpusetCpus") or "",
    "logDriver": lambda info: info["HostConfig"]["LogConfig"]["Type"],
    "networkMode": lambda info: info["HostConfig"]["NetworkMode"],
    "usernsMode": lambda info: info["HostConfig"].get("UsernsMode") or "",
    "ipcMode": lambda info: info["HostConfig"].get("IpcMode") or "",
    "hosts": lambda info: [
        dict(zip(("host", "ip"), entry.split(":")[:2], strict=True))
        for entry in info["HostConfig"].get("ExtraHosts") or []
    ],
}
# If Docker has none: absent right after the container is created, empty after a refresh.
READ_BACK_OR_EMPTY: Mapping[str, tuple[str, Value]] = {
    "dns": ("Dns", []),
    "dnsOpts": ("DnsOptions", []),
    "dnsSearches": ("DnsSearch", []),
    "groupAdds": ("GroupAdd", []),
    "storageOpts": ("StorageOpt", {}),
    "sysctls": ("Sysctls", {}),
    "tmpfs": ("Tmpfs", {}),
}


def _mebibytes(size: int | None) -> int:
    return size // MEBIBYTE if size and size > 0 else size or 0


def _network_datas(info: dict[str, Any]) -> list[Values]:
    networks = info["NetworkSettings"].get("Networks") or {}
    return [_network_data(name, networks[name]) for name in sorted(networks)]


def _network_data(name: str, network: dict[str, Any]) -> Values:
    return {
        "networkName": name,
        "ipAddress": network.get("IPAddress") or "",
        "ipPrefixLength": network.get("IPPrefixLen") or 0,
        "gateway": network.get("Gateway") or "",
        "globalIpv6Address": network.get("GlobalIPv6Address") or "",
        "globalIpv6PrefixLength": network.get("GlobalIPv6PrefixLen") or 0,
        "ipv6Gateway": network.get("IPv6Gateway") or "",
        "macAddress": network.get("MacAddress") or "",
    }
