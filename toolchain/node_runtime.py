"""Lets Docker run privileged containers, such as Talos nodes, without CAP_SYS_RESOURCE.

No process can grant a capability that it does not have. If this one is missing (mostly inside a
container or a sandbox), runc refuses to start a privileged container. Then, and only then, dockerd
is started with a wrapper around runc as its default runtime, which drops the capability.
"""

from pathlib import Path

from host.paths import WORK
from toolchain.files import write_if_different

CAPABILITY = "CAP_SYS_RESOURCE"
CAPABILITY_BIT = 24
RUNTIME = "talos-cache-runc"
PROCESS_STATUS = Path("/proc/self/status")


def capability_missing() -> bool:
    """Whether this process can't grant the capability."""
    return not _grants(PROCESS_STATUS.read_text())


def dockerd_options() -> list[str]:
    """Write the wrapper; returns the options that make dockerd use it."""
    wrapper = WORK / "bin-docker" / RUNTIME
    wrapper.parent.mkdir(parents=True, exist_ok=True)
    # Another dockerd of this checkout may be running it.
    write_if_different(wrapper, wrapper_script("runc"), 0o755)
    return ["--add-runtime", f"{RUNTIME}={wrapper}", "--default-runtime", RUNTIME]


def wrapper_script(runc: str) -> str:
    """A shell script that wraps `runc`; it also runs in a minimal Debian, inside a node.

    It edits the JSON that containerd passes, which is on one line: `config.json` in the folder
    after `--bundle`, and the file after `--process` of an exec. It drops the capability, and sets
    a negative OOM score to 0: without the capability a score can't be lowered.
    """
    return f"""\
#!/bin/sh
set -e
spec=
before=
for word; do
  case $before in
    --bundle) spec=$word/config.json ;;
    --process) spec=$word ;;
  esac
  before=$word
done
if [ -n "$spec" ]; then
  sed -i -E \\
    -e 's/"{CAPABILITY}",//g' -e 's/,?"{CAPABILITY}"//g' \\
    -e 's/"oomScoreAdj":-[0-9]+/"oomScoreAdj":0/' "$spec"
fi
exec {runc} "$@"
"""


def _grants(status: str) -> bool:
    """Whether both sets in the text of /proc/PID/status include the capability."""
    sets = dict(line.split(":\t", 1) for line in status.splitlines() if line.startswith("Cap"))
    return all(int(sets[name], 16) >> CAPABILITY_BIT & 1 for name in ("CapBnd", "CapEff"))
