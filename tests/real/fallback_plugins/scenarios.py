"""What is tried on the plugins: some sixty small scenarios with one resource each, as data.

A step is one of: `up` and `preview` (with the program's inputs), `refresh`, `destroy`, `run`
(a command outside the plugin) and `invoke`. Words in braces are filled in for each run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.real.fallback_plugins.plugin_driver import Scenario

Step = Mapping[str, Any]
Inputs = dict[str, Any]

CONTAINER = "docker:index/container:Container"
VOLUME = "docker:index/volume:Volume"
IMAGE = "docker:index/remoteImage:RemoteImage"
NETWORK = "docker:index/getNetwork:getNetwork"
COMMAND = "command:local:Command"

# An unknown value in Pulumi's wire format.
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
REFRESH: Step = {"refresh": None}
DESTROY: Step = {"destroy": None}


def container(**more: Any) -> Inputs:
    """The inputs of a container that keeps running."""
    return {"name": "{name}", "image": "{image}", **more}


def up(inputs: Inputs) -> Step:
    return {"up": inputs}


def run(command: str) -> Step:
    return {"run": command}


def port(ip: str = "127.0.0.1", internal: int = 5000, external: str = "{port}") -> Inputs:
    return {"internal": internal, "external": external, "ip": ip}


def lasting(*inputs: Inputs) -> tuple[Step, ...]:
    """Created, unchanged, refreshed, unchanged, for all inputs one after another; destroyed."""
    steps: list[Step] = []
    for one in inputs:
        steps += [up(one), up(one), REFRESH, up(one)]
    return (*steps, DESTROY)


ONE, TWO, THREE = port(), port("127.0.0.2"), port("127.0.0.3")
LABELS = [{"label": "a", "value": "1"}, {"label": "b", "value": "2"}]
HEALTH = {"tests": ["CMD", "/bin/true"], "interval": "10s", "timeout": "5s", "retries": 3}
FILE = {"file": "/tmp/file", "content": "hello"}
BOTH = {**FILE, "contentBase64": "eA=="}
PORT_TAKEN = run("docker run -d --name {name}-holder -p 127.0.0.1:{port}:5000 {image}")
PORT_FREE = run("docker rm -f {name}-holder")
STATE = run("docker ps -a --filter name={name} --format '{{.State}}'")
EXITS = container(command=["/bin/false"], ports=[ONE])
EXITS_SOON = container(command=["/bin/sleep", "5"], ports=[ONE])
SAID = {"command": ["60"], "entrypoints": ["/bin/sleep"], "ports": [ONE]}

CONTAINERS: Mapping[str, Sequence[Step]] = {
    "only a name and an image": lasting(container()),
    "a preview of creating, changing and replacing it": (
        {"preview": container()},
        {"preview": container(image=UNKNOWN)},
        up(container()),
        {"preview": container(restart="always")},
        {"preview": container(envs=["A=1"])},
        DESTROY,
    ),
    "a port on one address": lasting(container(ports=[ONE])),
    "a port on two addresses": lasting(container(ports=[ONE, TWO])),
    "a port on two addresses the other way round": lasting(container(ports=[TWO, ONE])),
    "a port on three addresses": lasting(container(ports=[ONE, TWO, THREE])),
    "the same ports in another order": (
        up(container(ports=[ONE, TWO])),
        up(container(ports=[TWO, ONE])),
        DESTROY,
    ),
    "two ports in the order of their numbers, then not": lasting(
        container(ports=[ONE, port(internal=5001, external="{port2}")]),
        container(ports=[port(internal=5001, external="{port2}"), ONE]),
    ),
    "an address added and one removed": (
        up(container(ports=[ONE])),
        up(container(ports=[ONE, TWO])),
        up(container(ports=[TWO])),
        DESTROY,
    ),
    "another external port": (
        up(container(ports=[ONE])),
        up(container(ports=[port(external="{port2}")])),
        DESTROY,
    ),
    "a second address changes": (
        up(container(ports=[ONE, TWO])),
        up(container(ports=[ONE, THREE])),
        DESTROY,
    ),
    "ports added and removed": (
        up(container()),
        up(container(ports=[ONE])),
        up(container()),
        DESTROY,
    ),
    "a port that Docker chooses": lasting(container(ports=[{"internal": 5000}])),
    "a port without an address": lasting(
        container(ports=[{"internal": 5000, "external": "{port}"}]),
        container(ports=[port(ip="")]),
    ),
    "a port of both protocols": lasting(
        container(ports=[ONE, {**ONE, "protocol": "udp"}]),
    ),
    "labels": lasting(
        container(labels=LABELS),
        container(labels=LABELS[::-1]),
        container(labels=LABELS[:1]),
        container(labels=[{"label": "a", "value": "2"}]),
        container(),
    ),
    "environment variables": lasting(
        container(envs=["B=2", "A=1"]), container(envs=["A=1", "B=2"]), container(envs=["A=1"])
    ),
    "a malformed environment variable": (up(container(envs=["A"])),),
    "another restart policy": lasting(
        container(),
        container(restart="always"),
        container(restart="on-failure", maxRetryCount=3),
        container(restart="no"),
    ),
    "an unknown restart policy": (up(container(restart="sometimes")),),
    "memory": lasting(container(memory=64), container(memory=32), container(memory=128)),
    "negative memory": (up(container(memory=-1)),),
    "a healthcheck": lasting(
        container(healthcheck=HEALTH), container(healthcheck={**HEALTH, "interval": "1m"})
    ),
    "a healthcheck that is read back in another form, then none": lasting(
        container(healthcheck={"tests": ["CMD", "/bin/true"], "interval": "60s"}), container()
    ),
    "a healthcheck with a wrong duration": (
        up(container(healthcheck={**HEALTH, "interval": "5 parsecs"})),
    ),
    "uploads": lasting(
        container(uploads=[FILE, {"file": "/tmp/run", "content": "x", "executable": True}]),
        container(uploads=[{**FILE, "content": "bye"}]),
        container(uploads=[{"file": "/tmp/file", "contentBase64": "aGVsbG8="}]),
    ),
    "permissions of an upload": (
        up(container(uploads=[{**FILE, "permissions": "600"}])),
        up(container(uploads=[{**FILE, "permissions": ""}])),
        up(container(uploads=[{**FILE, "permissions": "0o600"}])),
        up(container(uploads=[{**FILE, "permissions": "0600", "executable": True}])),
        run("docker exec {name} /bin/stat -c %a /tmp/file"),
        DESTROY,
    ),
    "an empty upload": (up(container(uploads=[{"file": "/tmp/file"}])), STATE),
    "an upload that is not base64": (
        up(container(uploads=[{"file": "/tmp/file", "contentBase64": "not!"}])),
    ),
    "an upload of two contents": (up(container(uploads=[BOTH])), STATE),
    "no inputs": (up({}),),
    "no image": (up({"name": "{name}"}),),
    "a missing image": (up(container(image="127.0.0.1:1/nowhere:1")), STATE),
    "a name that is taken": (
        run("docker run -d --name {name} {image}"),
        up(container()),
    ),
    "it exits at once": (
        {"made": EXITS},
        run("docker wait {name}"),
        DESTROY,
    ),
    "it exits soon": (
        up(EXITS_SOON),
        run("docker wait {name}"),
        REFRESH,
        up(EXITS_SOON),
        run("docker wait {name}"),
        REFRESH,
        up({**EXITS_SOON, "mustRun": False}),
        DESTROY,
    ),
    "it exits soon, without ports": (
        up(container(command=["/bin/sleep", "5"])),
        run("docker wait {name}"),
        REFRESH,
        up(container(command=["/bin/sleep", "5"])),
        STATE,
        DESTROY,
    ),
    "a port that is taken, then free": (
        PORT_TAKEN,
        up(container(ports=[ONE])),
        STATE,
        PORT_FREE,
        up(container(ports=[ONE])),
        REFRESH,
        up(container(ports=[ONE])),
        STATE,
        DESTROY,
    ),
    "a port that is taken, a refresh, then free": (
        PORT_TAKEN,
        up(container(ports=[ONE])),
        REFRESH,
        up(container(ports=[ONE])),
        STATE,
        PORT_FREE,
        up(container(ports=[ONE])),
        STATE,
        DESTROY,
    ),
    "a port that is taken, with a command and an entrypoint": (
        PORT_TAKEN,
        up(container(**SAID)),
        PORT_FREE,
        up(container(**SAID)),
        STATE,
        REFRESH,
        up(container(**SAID)),
        STATE,
        DESTROY,
    ),
    "a missing command, then fixed": (
        up(container(command=["/bin/not-there"])),
        STATE,
        REFRESH,
        up(container(command=["/bin/not-there"])),
        up(container()),
        STATE,
        DESTROY,
    ),
    "stopped by hand": (
        up(container(ports=[ONE])),
        run("docker stop -t 0 {name}"),
        REFRESH,
        up(container(ports=[ONE])),
        STATE,
        DESTROY,
    ),
    "stopped by hand, without ports": (
        up(container()),
        run("docker stop -t 0 {name}"),
        REFRESH,
        up(container()),
        STATE,
        DESTROY,
    ),
    "stopped by hand, which is allowed": (
        up(container(ports=[ONE], mustRun=False)),
        run("docker stop -t 0 {name}"),
        REFRESH,
        up(container(ports=[ONE], mustRun=False)),
        up(container(ports=[ONE])),
        STATE,
        DESTROY,
    ),
    "created but not started": lasting(container(start=False)),
    "removed by hand": (
        up(container()),
        run("docker rm -f {name}"),
        REFRESH,
        up(container()),
        run("docker rm -f {name}"),
        DESTROY,
    ),
    "changed by hand": (
        up(container(restart="always", memory=64)),
        run("docker update --restart no --memory 32m --memory-swap 64m {name}"),
        REFRESH,
        up(container(restart="always", memory=64)),
        DESTROY,
    ),
    "renamed by hand": (
        up(container()),
        run("docker rename {name} {name}-other"),
        REFRESH,
        up(container()),
        DESTROY,
    ),
    "another name": (up(container()), up(container(name="{name}-other")), DESTROY),
    "a command and an entrypoint": lasting(
        container(command=["/bin/sleep", "60"]),
        container(command=["60"], entrypoints=["/bin/sleep"]),
        container(command=["61"], entrypoints=["/bin/sleep"]),
    ),
    "a user": lasting(container(user="1:1"), container()),
    "volumes": lasting(
        container(
            volumes=[
                {"volumeName": "{name}", "containerPath": "/data"},
                {"hostPath": "/etc/hostname", "containerPath": "/there", "readOnly": True},
                {"containerPath": "/anonymous"},
            ]
        ),
        container(volumes=[{"volumeName": "{name}", "containerPath": "/other"}]),
    ),
    "a volume's path that is not absolute": (
        up(container(volumes=[{"hostPath": "relative", "containerPath": "/data"}])),
    ),
    "what a cache has": lasting(
        container(
            restart="always",
            mustRun=True,
            envs=["B=2", "A=1"],
            labels=LABELS,
            ports=[ONE],
            volumes=[{"volumeName": "{name}", "containerPath": "/data"}],
            uploads=[FILE],
            sysctls={"net.ipv4.tcp_syn_retries": "1"},
            dnsOpts=["timeout:1", "attempts:2"],
            healthcheck=HEALTH,
            logDriver="json-file",
            logOpts={"max-size": "10m", "max-file": "3"},
        )
    ),
    "kernel settings": lasting(
        container(sysctls={"net.ipv4.tcp_syn_retries": "1"}),
        container(sysctls={"net.ipv4.tcp_syn_retries": "2"}),
    ),
    "options of name servers": lasting(
        container(dnsOpts=["timeout:1", "attempts:2"]),
        container(dnsOpts=["attempts:2", "timeout:1"]),
        container(dnsOpts=["attempts:2"]),
    ),
    "a log driver and its options": lasting(
        container(logDriver="json-file", logOpts={"max-size": "10m"}),
        container(logOpts={"max-size": "20m"}),
        container(logDriver="none"),
    ),
    "tmpfs": lasting(container(tmpfs={"/run": ""}), container(tmpfs={"/run": "size=1m"})),
    "hosts": lasting(container(hosts=[{"host": "h", "ip": "10.0.0.1"}]), container()),
    "a stop timeout": lasting(
        container(stopTimeout=3), container(stopTimeout=3, destroyGraceSeconds=1)
    ),
    "anonymous volumes are kept": (
        up(container(volumes=[{"containerPath": "/data"}], removeVolumes=False)),
        DESTROY,
    ),
}

VOLUMES: Mapping[str, Sequence[Step]] = {
    "a volume": lasting({"name": "{name}"}),
    "a preview of it": (
        {"preview": {"name": "{name}"}},
        up({"name": "{name}"}),
        {"preview": {"name": "{name}", "labels": LABELS}},
        DESTROY,
    ),
    "labels of a volume": lasting(
        {"name": "{name}", "labels": LABELS},
        {"name": "{name}", "labels": LABELS[::-1]},
        {"name": "{name}", "labels": [{"label": "a", "value": "2"}]},
        {"name": "{name}"},
    ),
    "a volume that exists already": (
        run("docker volume create {name}"),
        *lasting({"name": "{name}"}),
    ),
    "a volume that exists already, with other labels": (
        run("docker volume create --label by=hand {name}"),
        *lasting({"name": "{name}", "labels": LABELS}),
    ),
    "a driver": lasting({"name": "{name}"}, {"name": "{name}", "driver": "local"}),
    "an unknown driver": (up({"name": "{name}", "driver": "no-such-driver"}),),
    "options of the driver": lasting(
        {"name": "{name}", "driverOpts": {"type": "tmpfs", "device": "tmpfs"}},
        {"name": "{name}"},
    ),
    "another name of a volume": (up({"name": "{name}"}), up({"name": "{name}-other"}), DESTROY),
    "in use at delete, then free": (
        up({"name": "{name}"}),
        run("docker run -d --name {name} -v {name}:/data {image}"),
        DESTROY,
        run("docker volume ls -q --filter name={name}"),
        run("docker rm -f {name}"),
        DESTROY,
    ),
    "free while the delete waits": (
        up({"name": "{name}"}),
        run("docker run -d --name {name} -v {name}:/data {image}"),
        run("(sleep 4; docker rm -f {name}) >/dev/null 2>&1 &"),
        DESTROY,
    ),
    "gone at delete": (up({"name": "{name}"}), run("docker volume rm {name}"), DESTROY),
    "gone at refresh": (
        up({"name": "{name}"}),
        run("docker volume rm {name}"),
        REFRESH,
        up({"name": "{name}"}),
        DESTROY,
    ),
}

TAGGED: Inputs = {"name": "{name}:1"}
TAG = run("docker tag {image} {name}:1; docker tag {image} {name}:2")
TAGS = run("docker images --format '{{.Tag}}' {name} | sort")

IMAGES: Mapping[str, Sequence[Step]] = {
    "an image that exists already": (TAG, *lasting({**TAGGED, "keepLocally": True}), TAGS),
    "an image that is not kept": (TAG, up(TAGGED), DESTROY, TAGS),
    "a preview of an image": ({"preview": TAGGED}, TAG, up(TAGGED), {"preview": {"name": "b"}}),
    "an image that can't be pulled": (up({"name": "127.0.0.1:1/nowhere:1"}),),
    "how an image is removed changes": (
        TAG,
        up({**TAGGED, "keepLocally": True}),
        up({**TAGGED, "forceRemove": True}),
        DESTROY,
        TAGS,
    ),
    "another image": (
        TAG,
        up({**TAGGED, "keepLocally": True}),
        up({"name": "{name}:2"}),
        DESTROY,
        TAGS,
    ),
    "triggers of an image": (
        TAG,
        up({**TAGGED, "keepLocally": True, "triggers": {"a": "1"}}),
        up({**TAGGED, "keepLocally": True, "triggers": {"a": "2"}, "pullTriggers": ["b"]}),
        DESTROY,
    ),
    "an image that is gone at refresh": (TAG, up(TAGGED), run("docker rmi {name}:1"), REFRESH),
    "an image that is gone at delete": (TAG, up(TAGGED), run("docker rmi {name}:1"), DESTROY),
    "an image in use": (
        TAG,
        up(TAGGED),
        run("docker run -d --name {name} {name}:1"),
        DESTROY,
        TAGS,
    ),
}

NETWORKS: Mapping[str, Sequence[Step]] = {
    "a network": (
        run("docker network create --subnet 10.213.7.0/24 --gateway 10.213.7.1 {name}"),
        {"invoke": {"name": "{name}"}},
        run("docker network rm {name}"),
    ),
    "a missing network": ({"invoke": {"name": "{name}"}},),
    "no name": ({"invoke": {}},),
}

SEEN = "echo $A [$PULUMI_COMMAND_STDOUT][$PULUMI_COMMAND_STDERR]"
PRINTS: Inputs = {"create": "echo out; echo err >&2"}

COMMANDS: Mapping[str, Sequence[Step]] = {
    "a command": lasting(PRINTS),
    "a preview of a command": (
        {"preview": PRINTS},
        up(PRINTS),
        {"preview": {"create": "echo other"}},
        {"preview": {**PRINTS, "triggers": [1]}},
        DESTROY,
    ),
    "a changed create without update": (
        up(PRINTS),
        up({"create": SEEN}),
        up({"create": SEEN, "environment": {"A": "1"}}),
        up({"create": SEEN, "environment": {"A": "2", "B-C": "3"}}),
        DESTROY,
    ),
    "an update": (
        up({**PRINTS, "update": SEEN}),
        up({**PRINTS, "update": SEEN, "environment": {"A": "1"}}),
        up({**PRINTS, "environment": {"A": "2"}, "addPreviousOutputInEnv": False, "update": SEEN}),
        up({"update": SEEN}),
        DESTROY,
    ),
    "triggers": (
        up({**PRINTS, "triggers": [1, "a", {"b": [True]}]}),
        up({**PRINTS, "triggers": [1, "a", {"b": [False]}], "environment": {"A": "1"}}),
        up({**PRINTS, "triggers": [1]}),
        up(PRINTS),
        DESTROY,
    ),
    "a delete": (
        up({**PRINTS, "delete": f"{SEEN} > {{folder}}/log", "environment": {"A": "1"}}),
        DESTROY,
        run("cat {folder}/log"),
    ),
    "a delete that fails": (
        up({"create": "true", "delete": "echo out; echo err >&2; exit 3"}),
        DESTROY,
    ),
    "nothing to run": lasting({}, {"environment": {"A": "1"}}),
    "a create that fails": (
        up({"create": "echo out; sleep 0.2; echo err >&2; exit 3"}),
        up({"create": "kill -TERM $$"}),
        up({"create": "kill -KILL $$"}),
        up({"create": "no-such-program"}),
    ),
    "an update that fails": (
        up(PRINTS),
        up({"create": "echo failing; exit 3"}),
        up(PRINTS),
        DESTROY,
    ),
    "standard input": lasting(
        {"create": "cat", "stdin": "typed\n\n"}, {"create": "cat", "stdin": ""}, {"create": "cat"}
    ),
    "standard input that is not read": (up({"create": "true", "stdin": "{long}"}), DESTROY),
    "what is logged": (
        *(
            up({**PRINTS, "create": f"sleep 0.{n}; {PRINTS['create']}", "logging": shown})
            for n, shown in enumerate(("none", "stdout", "stderr"))
        ),
        up({**PRINTS, "logging": "everything"}),
        DESTROY,
    ),
    "another interpreter": (
        up({"create": "echo $0", "interpreter": ["/bin/sh", "-c", "echo second $0"]}),
        up({"create": "echo $0", "interpreter": []}),
        up({"create": "echo $0", "interpreter": ["/no/such/program"]}),
        DESTROY,
    ),
    "another folder": (
        up({"create": "pwd", "dir": "{folder}"}),
        up({"create": "pwd", "dir": "{folder}/none"}),
        DESTROY,
    ),
    "a timeout": (
        {"hurried": {"create": "echo begun; exec sleep 60"}},
        # The leader is killed; what it started is not, and is waited for.
        {"hurried": {"create": "(sleep 3; touch {folder}/done; echo done) & echo begun; sleep 60"}},
        run("ls {folder}"),
    ),
    "output that is not text": (
        up({"create": 1}),
        up({"create": True}),
        up({"create": ["true"]}),
        up({"environment": {"A": 1}}),
    ),
    "an unknown property": (up({**PRINTS, "colour": "red"}),),
    "an unknown": (
        {"preview": {"create": UNKNOWN}},
        up(PRINTS),
        {"preview": {**PRINTS, "environment": {"A": UNKNOWN}}},
        {"preview": {**PRINTS, "environment": {"A": UNKNOWN, "B": "1"}}},
        {"preview": {**PRINTS, "environment": UNKNOWN}},
        {"preview": {**PRINTS, "stdin": UNKNOWN}},
        {"preview": {"create": UNKNOWN}},
        {"preview": {**PRINTS, "triggers": [UNKNOWN]}},
        DESTROY,
    ),
}

TABLES = {
    CONTAINER: CONTAINERS,
    VOLUME: VOLUMES,
    IMAGE: IMAGES,
    NETWORK: NETWORKS,
    COMMAND: COMMANDS,
}
SCENARIOS = tuple(
    Scenario(name=name, type=kind, steps=steps)
    for kind, table in TABLES.items()
    for name, steps in table.items()
)
