"""The watch inside a cache's container that notices when the upstream gives no answer.

See docs/adr/0013-when-the-upstream-is-away.md.
"""

import shlex
from importlib.resources import files

from plan.network import address_of, ip_address

# Where the registry answers for people who look into it; the watch and the credential helper do.
DEBUG_ADDRESS = "127.0.0.1:5001"
# What is not well, in one sentence for `doctor`; not there while all is. In memory, so that it ends
# with the container.
TROUBLE_PATH = "/dev/shm/talos-cache-trouble"  # noqa: S108 - in a container of its own
# One of these for each registry that runs, by its debug address: it has been asked for a user name
# and a password, and has none.
BASIC_PATH = "/dev/shm/talos-cache-basic"  # noqa: S108 - the same

# Runs on busybox alone. `busybox NAME`, because an image need not have a link for every applet.
_FILE = files("plan.caches") / "upstream_watchdog.sh"
# It ships beside this module, like code, and is read as code is: once, when the module is imported.
# What it tells shellcheck is left out. After its first paragraph it is the same for all caches.
_SCRIPT = "".join(
    line
    for line in _FILE.read_text(encoding="utf-8").partition("\n\n")[2].splitlines(keepends=True)
    if not line.lstrip().startswith("# shellcheck ")
)


def script(remote_url: str, path_prefix: str = "") -> str:
    """Text of the program.

    Args:
        remote_url: what the registry connects to.
        path_prefix: what stands before every repository's name there. What is not below it may be
            answered by another server than what is.
    """
    name, port = address_of(remote_url)
    # Only an upstream that has to be looked up can be taken away from the registry.
    by_name = "" if ip_address(name) else "yes"
    settings = f"name={shlex.quote(name)}\nport={port}\nby_name={by_name}\n"
    settings += f"prefix={shlex.quote(path_prefix)}\n"
    paths = f"trouble={TROUBLE_PATH}\nbasic={BASIC_PATH}\n"
    return f"#!/bin/sh\n{settings}{paths}\n{_SCRIPT}"
