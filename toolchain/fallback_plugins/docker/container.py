"""Translates container inputs to Docker's API, and Docker's answers to Pulumi state. No I/O."""

import base64
import binascii
import io
import tarfile
from collections.abc import Iterator, Mapping
from typing import Any

from toolchain.fallback_plugins.docker.container_fields import (
    ALL_INTERFACES,
    DURATION_PART,
    DURATIONS,
    EMPTY_UPLOAD,
    EMPTY_VOLUME,
    EMPTY_WHERE_ABSENT,
    MEBIBYTE,
    NANOSECONDS,
    NOT_IMPLEMENTED,
    READ_BACK,
    READ_BACK_OR_EMPTY,
    UNKNOWN_WHERE_ABSENT,
)
from toolchain.fallback_plugins.protocol.schema import (
    Field,
    Problem,
)
from toolchain.fallback_plugins.protocol.values import UNKNOWN, Values, holds_unknown

# What the official plugin gives an upload without `permissions`.
EXECUTABLE_MODE = 0o744
PLAIN_MODE = 0o644


def problems(inputs: Values) -> Iterator[Problem]:
    """What is wrong with inputs whose fields and types are right."""
    for index, volume in enumerate(_known(inputs, "volumes")):
        if not str(volume.get("hostPath") or "/").startswith("/"):
            yield Problem(f"volumes[{index}].hostPath", "hostPath must be an absolute path")
    for index, upload in enumerate(_known(inputs, "uploads")):
        try:
            base64.b64decode(upload.get("contentBase64", ""), validate=True)
        except (binascii.Error, ValueError):
            yield Problem(f"uploads[{index}].contentBase64", "contentBase64 is not base64")
    for key in DURATIONS:
        value = (_known(inputs, "healthcheck") or {}).get(key)
        if value is not None and nanoseconds(value) is None:
            path = f"healthcheck.{key}"
            yield Problem(path, f"{path!r} must be a duration such as 500ms, 5s or 1m30s")


def planned(inputs: Values) -> Values:
    """The state as far as the inputs determine it."""
    state: Values = {**NOT_IMPLEMENTED, **{key: [] for key in EMPTY_WHERE_ABSENT}, **inputs}
    for key, empty in (("uploads", EMPTY_UPLOAD), ("volumes", EMPTY_VOLUME)):
        if isinstance(state[key], list):
            state[key] = [item if item is UNKNOWN else {**empty, **item} for item in state[key]]
    return state


def planned_in_preview(inputs: Values) -> Values:
    """The same, with unknowns for what only Docker knows."""
    return {**planned(inputs), **{k: UNKNOWN for k in UNKNOWN_WHERE_ABSENT if k not in inputs}}


def planned_update(fields: Mapping[str, Field], state: Values, inputs: Values) -> Values:
    """The state after a change in place."""
    changed = dict(state)
    for key, spec in fields.items():
        if spec.in_place and key in inputs:
            value = inputs[key]
            changed[key] = {"retries": 0, **value} if key == "healthcheck" else value
        elif spec.in_place and spec.kind in ("whole", "flag") and key in state:
            changed[key] = False if spec.kind == "flag" else 0
    return changed


def ports_differ(state: list[Values], wanted: list[Values]) -> bool:
    """Whether a change of ports replaces the container.

    As in the official plugin, each port of the state is compared with the first wanted port that
    has the same internal port. So the order counts if a port is published on several addresses.
    """
    if len(state) != len(wanted):
        return True
    return not all(_is_first_of(port, wanted) for port in state)


def with_chosen_ports(state: list[Values], wanted: list[Values]) -> list[Values]:
    """The wanted ports, with the number that Docker chose if none is given."""
    chosen = [port.get("external") for port in state] + [None] * len(wanted)
    return [
        port if port.get("external") else {**port, "external": number}
        for port, number in zip(wanted, chosen, strict=False)
    ]


def nanoseconds(duration: str) -> int | None:
    """A Go duration (`1m30s`) in nanoseconds; None if it is not one."""
    if duration == "0":
        return 0
    parts = DURATION_PART.findall(duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        return None
    return round(sum(float(number) * NANOSECONDS[unit] for number, unit in parts))


def go_duration(nanoseconds_: int) -> str:
    """A duration as Go prints it, and as it is read back: a minute is `1m0s`."""
    if nanoseconds_ < NANOSECONDS["s"]:
        unit = next((u for u in ("ms", "µs") if nanoseconds_ >= NANOSECONDS[u]), "ns")
        return f"{_decimal(nanoseconds_, unit)}{unit}" if nanoseconds_ else "0s"
    hours, rest = divmod(nanoseconds_, NANOSECONDS["h"])
    minutes, rest = divmod(rest, NANOSECONDS["m"])
    parts = (f"{hours}h" if hours else "", f"{minutes}m" if hours or minutes else "")
    return f"{''.join(parts)}{_decimal(rest, 's')}s"


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


def read_back(state: Values, info: dict[str, Any], *, created: bool) -> Values:
    """The state of a container, from Docker's report.

    Args:
        state: the state so far.
        info: Docker's report.
        created: whether it has just been created: then empty sets are left out.
    """
    real = {**state, "id": info["Id"], **{key: read(info) for key, read in READ_BACK.items()}}
    for key, (name, empty) in READ_BACK_OR_EMPTY.items():
        real[key] = info["HostConfig"].get(name) or (None if created else empty)
    options = info["HostConfig"]["LogConfig"].get("Config") if state.get("logOpts") else None
    real["logOpts"] = options or (None if created else {})
    by_id = str(state.get("image")).startswith("sha256:")
    real["image"] = info["Image"] if by_id else info["Config"]["Image"]
    if info["Config"].get("Healthcheck"):
        real["healthcheck"] = _real_healthcheck(info["Config"]["Healthcheck"])
    if not created:
        real["volumes"] = [{"readOnly": False, **volume} for volume in state.get("volumes") or []]
    return {**real, **_running(state, info)}


def real_ports(info: dict[str, Any]) -> list[Values]:
    """The ports as Docker publishes them now, in its order; none for a stopped container."""
    bindings = info["NetworkSettings"].get("Ports") or {}
    keys = sorted(bindings, key=lambda key: (int(key.partition("/")[0]), key))
    return [
        {
            "internal": int(key.partition("/")[0]),
            "external": int(binding["HostPort"]),
            "ip": binding["HostIp"],
            "protocol": key.partition("/")[2],
        }
        for key in keys
        for binding in bindings[key] or []
    ]


def _running(state: Values, info: dict[str, Any]) -> Values:
    """The part of the state that depends on whether the container runs."""
    running, must_run = info["State"]["Running"], state.get("mustRun") is not False
    real: Values = {}
    if state.get("ports") and (running or must_run):
        real["ports"] = real_ports(info)
    if not running:
        real["exitCode"] = info["State"]["ExitCode"]
        real["mustRun"] = False
    return real


def _is_first_of(port: Values, wanted: list[Values]) -> bool:
    protocols = {(other["internal"], other.get("protocol")) for other in wanted}
    for other in wanted:
        if other["internal"] != port["internal"]:
            continue
        if other.get("protocol") == port.get("protocol"):
            return all(other.get(key) == port.get(key) for key in ("external", "ip"))
        if (port["internal"], port.get("protocol")) not in protocols:
            return False
    return False


def _real_healthcheck(real: dict[str, Any]) -> Values:
    durations = {key: go_duration(real.get(name) or 0) for key, name in DURATIONS.items()}
    return {"tests": real.get("Test") or [], "retries": real.get("Retries") or 0, **durations}


def _decimal(nanoseconds_: int, unit: str) -> str:
    whole_part, rest = divmod(nanoseconds_, NANOSECONDS[unit])
    digits = f"{rest / NANOSECONDS[unit]:.9f}".rstrip("0").removeprefix("0").rstrip(".")
    return f"{whole_part}{digits}"


def _known(inputs: Values, key: str) -> Any:
    """An input whose parts are all known; an empty list if it is absent or has unknown parts."""
    value = inputs.get(key)
    return [] if value is None or holds_unknown(value) else value


def _put(config: dict[str, Any], key: str, value: Any) -> None:
    """Set a value unless it is empty: Docker reads an empty list as "override with nothing"."""
    if value:
        config[key] = value


def _host_config(inputs: Values) -> dict[str, Any]:
    restart = {
        "Name": inputs.get("restart") or "no",
        "MaximumRetryCount": inputs.get("maxRetryCount") or 0,
    }
    config: dict[str, Any] = {
        "RestartPolicy": restart,
        "Init": False,
        "NetworkMode": inputs.get("networkMode") or "bridge",
        "LogConfig": {"Type": inputs.get("logDriver") or "", "Config": inputs.get("logOpts") or {}},
    }
    _put(config, "PortBindings", _port_bindings(inputs.get("ports") or []))
    _put(config, "Binds", [_bind(v) for v in inputs.get("volumes") or [] if _source(v)])
    _put(config, "ExtraHosts", [f"{h['host']}:{h['ip']}" for h in inputs.get("hosts") or []])
    _put(config, "DnsOptions", inputs.get("dnsOpts"))
    _put(config, "Sysctls", inputs.get("sysctls"))
    _put(config, "Tmpfs", inputs.get("tmpfs"))
    _put(config, "Memory", (inputs.get("memory") or 0) * MEBIBYTE)
    _put(config, "MemorySwap", (inputs.get("memorySwap") or 0) * MEBIBYTE)
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
    for key, name in DURATIONS.items():
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
