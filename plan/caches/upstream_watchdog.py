"""The watchdog in a cache's container, which notices when the upstream does not respond.

See docs/adr/0013-when-the-upstream-is-away.md.
"""

import shlex
from importlib.resources import files

from plan.network import address_of, ip_address

# The registry's debug server, which the watchdog and the credential helper use.
DEBUG_ADDRESS = "127.0.0.1:5001"
# What is wrong, in one sentence for `doctor`; absent while all is well. In memory, so that it is
# gone with the container.
TROUBLE_PATH = "/dev/shm/talos-cache-trouble"  # noqa: S108 - in a container of its own
# One for each running registry, by its debug address: its upstream has asked for a user name and a
# password, and there is none.
BASIC_PATH = "/dev/shm/talos-cache-basic"  # noqa: S108 - the same

# Runs on busybox alone. `busybox NAME`, because an image need not have a link for every applet.
_FILE = files("plan.caches") / "upstream_watchdog.sh"
# It ships next to this module and is read once, when the module is imported. Directives for
# shellcheck are left out. After its first paragraph it is the same for all caches.
_SCRIPT = "".join(
    line
    for line in _FILE.read_text(encoding="utf-8").partition("\n\n")[2].splitlines(keepends=True)
    if not line.lstrip().startswith("# shellcheck ")
)
# The first line of /etc/resolv.conf in the container while no name is looked up.
AWAY_NOTICE = _SCRIPT.partition("notice='")[2].partition("'")[0]


def script(remote_url: str, path_prefix: str = "") -> str:
    """Text of the program.

    Args:
        remote_url: what the registry connects to.
        path_prefix: prefix of every repository's name there. Another server may be responsible for
            repositories that are not below it.
    """
    name, port = address_of(remote_url)
    # The registry can be cut off from its upstream only if that has to be looked up by name.
    by_name = "" if ip_address(name) else "yes"
    settings = f"name={shlex.quote(name)}\nport={port}\nby_name={by_name}\n"
    settings += f"prefix={shlex.quote(path_prefix)}\n"
    paths = f"trouble={TROUBLE_PATH}\nbasic={BASIC_PATH}\n"
    return f"#!/bin/sh\n{settings}{paths}\n{_SCRIPT}"
