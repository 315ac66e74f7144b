"""Container inputs in Docker's words, a container's real state in Pulumi's. No I/O here."""

import base64
import binascii
import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from typing import Any

from toolchain.standins.schema import (
    Field,
    Problem,
    flag,
    many,
    mapping,
    normalise,
    record,
    text,
    unordered,
    whole,
)
from toolchain.standins.values import Value, Values, holds_unknown

MEBIBYTE = 1024 * 1024
HIGHEST_PORT = 65535
ALL_INTERFACES = "0.0.0.0"  # noqa: S104 -- what Docker does with a port that names none
DEFAULT_WAIT_SECONDS = 60
# What the official plugin gives an upload without `permissions`.
EXECUTABLE_MODE = 0o744
PLAIN_MODE = 0o644
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

LABEL = record(label=text(required=True), value=text(required=True))
PORT = record(
    internal=whole(required=True),
    external=whole(),
    ip=text(default=ALL_INTERFACES),
    protocol=text(default="tcp", choices=("tcp", "udp", "sctp")),
)
VOLUME = record(volumeName=text(), containerPath=text(), hostPath=text(), readOnly=flag())
UPLOAD = record(
    file=text(required=True),
    content=text(),
    contentBase64=text(),
    executable=flag(),
    permissions=text(),
)
NETWORK = record(name=text(required=True), aliases=unordered(text()), ipv4Address=text())
HEALTHCHECK = record(
    in_place=True,
    tests=many(text()),
    interval=text(),
    timeout=text(),
    startPeriod=text(),
    retries=whole(),
)

FIELDS: Mapping[str, Field] = {
    "name": text(required=True),
    "image": text(required=True),
    "command": many(text()),
    "entrypoints": many(text()),
    "envs": unordered(text()),
    "labels": unordered(LABEL),
    "user": text(),
    "ports": unordered(PORT),
    "volumes": unordered(VOLUME),
    "uploads": unordered(UPLOAD),
    "hosts": unordered(record(host=text(required=True), ip=text(required=True))),
    "dnsOpts": unordered(text()),
    "networkMode": text(default="bridge"),
    "networksAdvanced": unordered(NETWORK),
    "sysctls": mapping(),
    "logDriver": text(),
    "logOpts": mapping(),
    "stopTimeout": whole(),
    "healthcheck": HEALTHCHECK,
    "restart": text(
        default="no", in_place=True, choices=("no", "on-failure", "always", "unless-stopped")
    ),
    "maxRetryCount": whole(in_place=True),
    "memory": whole(in_place=True),
    "tmpfs": mapping(in_place=True),
    "start": flag(default=True, in_place=True),
    "mustRun": flag(default=True, in_place=True),
    "wait": flag(in_place=True),
    "waitTimeout": whole(default=DEFAULT_WAIT_SECONDS, in_place=True),
    "rm": flag(in_place=True),
    "destroyGraceSeconds": whole(in_place=True),
    "removeVolumes": flag(default=True, in_place=True),
}


def problems(inputs: Values) -> Iterator[Problem]:
    """What is wrong with inputs that fit the table."""
    if inputs.get("rm") is True:
        yield Problem("rm", "the stand-in plugin does not implement 'rm: true'")
    if _known(inputs, "networksAdvanced") and inputs.get("networkMode", "bridge") != "bridge":
        reason = "the stand-in plugin does not implement networkMode and networksAdvanced together"
        yield Problem("networkMode", reason)
    for index, env in enumerate(_known(inputs, "envs")):
        if "=" not in env:
            yield Problem(f"envs[{index}]", "an environment variable must look like KEY=VALUE")
    for index, port in enumerate(_known(inputs, "ports")):
        yield from _port_problems(f"ports[{index}]", port)
    for index, volume in enumerate(_known(inputs, "volumes")):
        yield from _volume_problems(f"volumes[{index}]", volume)
    for index, upload in enumerate(_known(inputs, "uploads")):
        yield from _upload_problems(f"uploads[{index}]", upload)
    for key in ("interval", "timeout", "startPeriod"):
        value = (
            (inputs.get("healthcheck") or {}).get(key) if _known(inputs, "healthcheck") else None
        )
        if isinstance(value, str) and value and nanoseconds(value) is None:
            where = f"healthcheck.{key}"
            yield Problem(where, f"{where!r} must be a duration such as 500ms, 5s or 1m30s")


def nanoseconds(duration: str) -> int | None:
    """A Go duration (`1m30s`) in nanoseconds; None if it is none."""
    if duration == "0":
        return 0
    parts = DURATION_PART.findall(duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        return None
    return round(sum(float(number) * NANOSECONDS[unit] for number, unit in parts))


def container_config(inputs: Values) -> dict[str, Any]:
    """The body of Docker's request to create a container."""
    config: dict[str, Any] = {"Image": inputs["image"], "HostConfig": _host_config(inputs)}
    _put(config, "Cmd", inputs.get("command"))
    _put(config, "Entrypoint", inputs.get("entrypoints"))
    _put(config, "Env", inputs.get("envs"))
    _put(config, "User", inputs.get("user"))
    _put(config, "StopTimeout", inputs.get("stopTimeout"))
    labels = {label["label"]: label["value"] for label in inputs.get("labels") or []}
    _put(config, "Labels", labels)
    _put(config, "ExposedPorts", {_port_key(port): {} for port in inputs.get("ports") or []})
    anonymous: dict[str, Any] = {
        v["containerPath"]: {} for v in inputs.get("volumes") or [] if not _source(v)
    }
    _put(config, "Volumes", anonymous)
    _put(config, "Healthcheck", _healthcheck(inputs.get("healthcheck") or {}))
    networks = inputs.get("networksAdvanced") or []
    if networks:
        # Docker's API takes one network at creation; the others are connected before the start.
        first = {networks[0]["name"]: endpoint_config(networks[0])}
        config["NetworkingConfig"] = {"EndpointsConfig": first}
    return config


def endpoint_config(network: Mapping[str, Value]) -> dict[str, Any]:
    """One of `networksAdvanced` as Docker's endpoint settings."""
    config: dict[str, Any] = {}
    _put(config, "Aliases", network.get("aliases"))
    if network.get("ipv4Address"):
        config["IPAMConfig"] = {"IPv4Address": network["ipv4Address"]}
    return config


def upload_archive(uploads: list[Values]) -> bytes:
    """A tar archive with all uploads, to be unpacked at the container's root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for upload in uploads:
            content = _content(upload)
            entry = tarfile.TarInfo(upload["file"].lstrip("/"))
            entry.size = len(content)
            entry.mode = _mode(upload)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def drift(inputs: Values, info: dict[str, Any]) -> Values:
    """The inputs that differ from what Docker reports, with their real values.

    Only what can change on a live container is compared: name, restart policy, memory, the
    published ports, the networks, and whether it runs. All else is fixed for as long as the
    container's id exists.
    """
    running = info["State"]["Running"]
    policy = info["HostConfig"].get("RestartPolicy") or {}
    found: Values = {}
    real = {
        "name": info["Name"].lstrip("/"),
        "restart": policy.get("Name") or "no",
        "maxRetryCount": policy.get("MaximumRetryCount") or 0,
        "memory": (info["HostConfig"].get("Memory") or 0) // MEBIBYTE,
    }
    for key, value in real.items():
        if normalise(FIELDS[key], inputs.get(key)) != normalise(FIELDS[key], value):
            found[key] = value
    if not running and inputs.get("mustRun") is not False:
        found["mustRun"] = False
    if inputs.get("ports") and (running or "mustRun" in found):
        ports = real_ports(info)
        if not _same_ports(inputs["ports"], ports):
            found["ports"] = ports
    found.update(_lost_networks(inputs.get("networksAdvanced") or [], info))
    return found


def computed(inputs: Values, info: dict[str, Any]) -> Values:
    """The outputs that are not inputs; and ports with the external port that Docker chose."""
    settings = info["NetworkSettings"]
    networks = settings.get("Networks") or {}
    outputs: Values = {
        "id": info["Id"],
        "bridge": settings.get("Bridge") or "",
        "exitCode": None if info["State"]["Running"] else info["State"]["ExitCode"],
        "networkDatas": [_network_data(name, networks[name]) for name in sorted(networks)],
    }
    if any(not port.get("external") for port in inputs.get("ports") or []):
        outputs["ports"] = real_ports(info)
    return outputs


def real_ports(info: dict[str, Any]) -> list[Values]:
    """The ports as Docker publishes them now; none for a container that is stopped."""
    found = []
    for key, bindings in (info["NetworkSettings"].get("Ports") or {}).items():
        internal, _, protocol = key.partition("/")
        for binding in bindings or []:
            found.append(
                {
                    "internal": int(internal),
                    "external": int(binding["HostPort"]),
                    "ip": binding["HostIp"],
                    "protocol": protocol,
                }
            )
    return sorted(found, key=lambda port: sorted(map(str, port.items())))


def _known(inputs: Values, key: str) -> Any:
    """An input that can be looked into; nothing if it is absent or has unknown parts."""
    value = inputs.get(key)
    return [] if value is None or holds_unknown(value) else value


def _port_problems(path: str, port: Values) -> Iterator[Problem]:
    for key in ("internal", "external"):
        if port.get(key, 0) > HIGHEST_PORT:
            yield Problem(f"{path}.{key}", f"a port is at most {HIGHEST_PORT}, not {port[key]}")


def _volume_problems(path: str, volume: Values) -> Iterator[Problem]:
    if not str(volume.get("containerPath", "")).startswith("/"):
        where = f"{path}.containerPath"
        yield Problem(where, f"{where!r} must be an absolute path in the container")


def _upload_problems(path: str, upload: Values) -> Iterator[Problem]:
    given = [key for key in ("content", "contentBase64") if upload.get(key)]
    if len(given) != 1:
        yield Problem(path, "an upload needs exactly one of content and contentBase64, not empty")
    if not re.fullmatch(r"[0-7]{0,4}", upload.get("permissions", "")):
        yield Problem(f"{path}.permissions", "permissions must be octal digits such as 0600")
    try:
        base64.b64decode(upload.get("contentBase64", ""), validate=True)
    except (binascii.Error, ValueError):
        yield Problem(f"{path}.contentBase64", "contentBase64 is not base64")


def _put(config: dict[str, Any], key: str, value: Any) -> None:
    """Docker takes an empty list for "override with nothing", so nothing is left out."""
    if value:
        config[key] = value


def _host_config(inputs: Values) -> dict[str, Any]:
    restart = {
        "Name": inputs.get("restart") or "no",
        "MaximumRetryCount": inputs.get("maxRetryCount") or 0,
    }
    networks = inputs.get("networksAdvanced") or []
    config: dict[str, Any] = {
        "RestartPolicy": restart,
        "Init": False,
        "NetworkMode": networks[0]["name"] if networks else inputs.get("networkMode") or "bridge",
        "LogConfig": {"Type": inputs.get("logDriver") or "", "Config": inputs.get("logOpts") or {}},
    }
    _put(config, "PortBindings", _port_bindings(inputs.get("ports") or []))
    _put(config, "Binds", [_bind(v) for v in inputs.get("volumes") or [] if _source(v)])
    _put(config, "ExtraHosts", [f"{h['host']}:{h['ip']}" for h in inputs.get("hosts") or []])
    _put(config, "DnsOptions", inputs.get("dnsOpts"))
    _put(config, "Sysctls", inputs.get("sysctls"))
    _put(config, "Tmpfs", inputs.get("tmpfs"))
    _put(config, "Memory", (inputs.get("memory") or 0) * MEBIBYTE)
    return config


def _port_key(port: Values) -> str:
    return f"{port['internal']}/{port.get('protocol') or 'tcp'}"


def _port_bindings(ports: list[Values]) -> dict[str, list[dict[str, str]]]:
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in ports:
        external = port.get("external")
        binding = {
            "HostIp": port.get("ip") or ALL_INTERFACES,
            "HostPort": str(external) if external else "",
        }
        bindings.setdefault(_port_key(port), []).append(binding)
    return bindings


def _source(volume: Values) -> str:
    return volume.get("hostPath") or volume.get("volumeName") or ""


def _bind(volume: Values) -> str:
    access = "ro" if volume.get("readOnly") else "rw"
    return f"{_source(volume)}:{volume['containerPath']}:{access}"


def _healthcheck(healthcheck: Values) -> dict[str, Any]:
    config: dict[str, Any] = {}
    _put(config, "Test", healthcheck.get("tests"))
    _put(config, "Retries", healthcheck.get("retries"))
    names = {"interval": "Interval", "timeout": "Timeout", "startPeriod": "StartPeriod"}
    for key, name in names.items():
        _put(config, name, nanoseconds(healthcheck.get(key) or "0"))
    return config


def _content(upload: Values) -> bytes:
    if upload.get("contentBase64"):
        return base64.b64decode(upload["contentBase64"])
    return str(upload["content"]).encode()


def _mode(upload: Values) -> int:
    if upload.get("permissions"):
        return int(upload["permissions"], 8)
    return EXECUTABLE_MODE if upload.get("executable") else PLAIN_MODE


def _same_ports(wanted: list[Values], real: list[Values]) -> bool:
    """Whether Docker publishes what was asked for; a port left to Docker may be any."""

    def key(port: Values, external: bool) -> tuple[Any, ...]:
        outside = port.get("external") if external else None
        return (port["internal"], port.get("protocol"), port.get("ip"), outside)

    fixed = all(port.get("external") for port in wanted)
    defaults = [normalise(PORT, port) for port in wanted]
    return {key(p, fixed) for p in defaults} == {key(p, fixed) for p in real}


def _lost_networks(wanted: list[Values], info: dict[str, Any]) -> Values:
    """`networksAdvanced` without those from which somebody disconnected the container."""
    attached = info["NetworkSettings"].get("Networks") or {}
    known = {*attached, *(network.get("NetworkID") for network in attached.values())}
    kept = [network for network in wanted if network["name"] in known]
    return {"networksAdvanced": kept} if len(kept) < len(wanted) else {}


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
