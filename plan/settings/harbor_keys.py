"""The rows of the table for Harbor, and for user names and passwords."""

from plan.settings.credentials import (
    CACHE_LOGIN,
    CREDENTIALS,
    HARBOR_ADMIN,
    HARBOR_LOGIN,
    MOST_PASSWORD_BYTES,
    NAMES,
    set_login,
    set_secret,
)
from plan.settings.harbor import MOST_DAYS, PROJECT_PREFIX, QUOTA, ROBOT
from plan.settings.key import (
    REQUIRED,
    TEXT,
    Group,
    Key,
    boolean,
    file,
    integer,
    secret,
)
from plan.settings.upstreams import URL

HARBOR_GROUP = Group(
    path="harbor",
    description="a Harbor that replaces caches on this machine",
    details="For upstreams with the backend harbor; without this key every cache is on this "
    "machine. With harborAdmin the stack creates a registry endpoint and a proxy-cache project "
    "there for each of them; without it, the projects must exist already.",
)
HARBOR = (
    Key(
        path="harbor.url",
        type=TEXT,
        default=REQUIRED,
        rule="http:// or https://, Harbor's host and, if needed, a port; nothing else",
        fix='write something like url: "https://harbor.example.com"',
        description="Harbor's URL: http or https and a host, no path, no loopback",
        example='"https://harbor.example.com"',
        pattern=URL.pattern,
    ),
    file(
        "harbor.ca",
        "certs/harbor-ca.pem",
        'the CA that issued its certificate: `"@file.pem"`',
        "The path is relative to the project; nodes get the CA. Leave it out if they trust it "
        "already.",
    ),
    Key(
        path="harbor.projectPrefix",
        type=TEXT,
        default="proxy-",
        rule="lower-case letters and digits, with '.', '_' or '-' between them or at the end",
        fix="write proxy-",
        description="prefix of the projects' names; the upstream's host follows",
        details="Change it to match existing projects, or if two stacks share one Harbor.",
        pattern=PROJECT_PREFIX,
    ),
    boolean(
        "harbor.public",
        True,
        "with `harborAdmin`: anyone may pull from the projects; `false` creates a robot account "
        "for nodes",
    ),
    integer(
        "harbor.retentionDays",
        None,
        (1, MOST_DAYS),
        "with `harborAdmin`: days to keep an image that no one pulls",
        "Without it, images are kept forever.",
    ).shown(example="30"),
    Key(
        path="harbor.quota",
        type=TEXT,
        rule="a size in MiB, GiB or TiB, such as 50GiB",
        fix="write something like 50GiB",
        description="with `harborAdmin`: size limit of each project, such as `50GiB`",
        details="Without it, there is no limit.",
        example="50GiB",
        pattern=QUOTA.pattern,
    ),
    Key(
        path="harbor.robot",
        type=TEXT,
        rule="full name of a robot account: Harbor's prefix, then lower-case letters and digits",
        fix="write something like robot$talos-cache",
        description="with `harborAdmin` and `public: false`: full name of the robot account",
        details="Without it, robot$talos-cache-<stack>. Set it if your Harbor has another robot "
        "prefix.",
        example="robot$talos",
        pattern=ROBOT.pattern,
    ),
)


def _commands(commands: tuple[str, ...]) -> str:
    name, password = commands
    return f"\n  {name} NAME\n  {password}"


CREDENTIALS_GROUP = Group(
    path=CREDENTIALS,
    description="user names and passwords for upstreams, as secrets",
    details="Only in a stack of your own: the passphrase of the stacks that come with the project "
    "is public. Set them with:" + _commands(tuple(set_secret("docker.io", name) for name in NAMES)),
)
CREDENTIALS_KEYS = (
    secret(
        "credentials.<host>.username",
        set_secret("docker.io", "username"),
        "user name for this upstream",
        host="docker.io",
    ),
    secret(
        "credentials.<host>.password",
        set_secret("docker.io", "password"),
        "password or token for this upstream",
        host="docker.io",
    ),
)


def _login(path: str, description: str, details: str) -> Group:
    commands = _commands(tuple(set_login(path, name) for name in NAMES))
    return Group(path=path, description=description, details=f"{details} Set them with:{commands}")


LOGIN_GROUPS = (
    _login(
        CACHE_LOGIN,
        "user name and password that every cache requires, as secrets",
        "Nodes get them in their patch. Without them anyone who can reach a cache may pull. Set "
        "them, together with cache.tls, on a shared network.",
    ),
    _login(
        HARBOR_ADMIN,
        "user name and password of a Harbor account that may create projects, as secrets",
        "They let the stack create the projects. Without them, it creates nothing there.",
    ),
    _login(
        HARBOR_LOGIN,
        "user name and password with which nodes pull from existing projects, as secrets",
        "For example of a robot account with repository:pull, and artifact:read for verify and "
        "warm. Without them, the projects must be public. Not together with harborAdmin.",
    ),
)
_DESCRIPTIONS = {
    CACHE_LOGIN: (
        "user name that every cache requires, without a colon",
        f"its password, at most {MOST_PASSWORD_BYTES} bytes",
    ),
    HARBOR_ADMIN: (
        "user name of an account that may create projects",
        "its password",
    ),
    HARBOR_LOGIN: (
        "user name with which nodes pull from existing projects",
        "its password",
    ),
}
LOGIN_KEYS = tuple(
    secret(f"{login}.{name}", set_login(login, name), description)
    for login, descriptions in _DESCRIPTIONS.items()
    for name, description in zip(NAMES, descriptions, strict=True)
)
