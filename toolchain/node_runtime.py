"""Lets Docker run privileged containers, as Talos nodes are, where CAP_SYS_RESOURCE is missing.

Nobody can give a container a capability that he does not have himself: runc refuses to start a
privileged one in such a place (a container, or a sandbox, mostly). There, and only there, dockerd
is started with a wrapper around runc as its default runtime, which leaves that capability out.
"""

from pathlib import Path

from host.paths import WORK

CAPABILITY = "CAP_SYS_RESOURCE"
CAPABILITY_BIT = 24
RUNTIME = "talos-cache-runc"
PROCESS_STATUS = Path("/proc/self/status")


def capability_missing() -> bool:
    """Whether this process can't hand on the capability."""
    return not _grants(PROCESS_STATUS.read_text())


def dockerd_options() -> list[str]:
    """What dockerd needs here; makes the wrapper."""
    wrapper = WORK / "bin-docker" / RUNTIME
    wrapper.parent.mkdir(parents=True, exist_ok=True)
    wrapper.write_text(wrapper_script("runc"))
    wrapper.chmod(0o755)
    return ["--add-runtime", f"{RUNTIME}={wrapper}", "--default-runtime", RUNTIME]


def wrapper_script(runc: str) -> str:
    """A shell script in front of `runc`; it runs in Debian's smallest system too, inside a node.

    It edits what containerd hands over, on one line each: `config.json` in the folder behind
    `--bundle`, and the file behind `--process` of an exec. The capability goes, and a negative
    OOM score becomes 0: without the capability a score can't be lowered.
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
    """Whether both sets in the text of /proc/PID/status hold the capability."""
    sets = dict(line.split(":\t", 1) for line in status.splitlines() if line.startswith("Cap"))
    return all(int(sets[name], 16) >> CAPABILITY_BIT & 1 for name in ("CapBnd", "CapEff"))
