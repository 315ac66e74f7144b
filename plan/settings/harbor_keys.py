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
    description="a Harbor that takes the place of caches on this machine",
    details="For the upstreams with the backend harbor; without the key every cache is here. With "
    "harborAdmin the stack makes a registry endpoint and a proxy-cache project there for each of "
    "them; without, somebody else has made the projects.",
)
HARBOR = (
    Key(
        path="harbor.url",
        type=TEXT,
        default=REQUIRED,
        rule="http:// or https:// and Harbor's host, with nothing behind it but a port",
        fix='write for instance url: "https://harbor.example.com"',
        description="Harbor's URL: http or https and a host, no path, no loopback",
        example='"https://harbor.example.com"',
        pattern=URL.pattern,
    ),
    file(
        "harbor.ca",
        "certs/harbor-ca.pem",
        'the CA that its certificate comes from: `"@file.pem"`',
        "The path is relative to the project; nodes get it. Leave it out if nodes trust it "
        "already.",
    ),
    Key(
        path="harbor.projectPrefix",
        type=TEXT,
        default="proxy-",
        rule="Harbor's projects have names of small letters and digits, with '.', '_', '-' between",
        fix="write proxy-",
        description="start of the projects' names; the upstream's host follows",
        details="Change it to the names that your projects have, or when two stacks share one "
        "Harbor.",
        pattern=PROJECT_PREFIX,
    ),
    boolean(
        "harbor.public",
        True,
        "with `harborAdmin`: anybody may pull from the projects; `false` makes a robot account "
        "for nodes",
    ),
    integer(
        "harbor.retentionDays",
        None,
        (1, MOST_DAYS),
        "the number of days",
        "with `harborAdmin`: for how many days an image is kept that nobody pulls",
        "Without it, for ever.",
    ).shown(example="30"),
    Key(
        path="harbor.quota",
        type=TEXT,
        rule="a size in MiB, GiB or TiB, such as 50GiB",
        fix="write for instance 50GiB",
        description="with `harborAdmin`: how much each project may hold, such as `50GiB`",
        details="Without it, there is no limit.",
        example="50GiB",
        pattern=QUOTA.pattern,
    ),
    Key(
        path="harbor.robot",
        type=TEXT,
        rule="the full name of a robot account, with Harbor's prefix: small letters and digits",
        fix="write for instance robot$talos-cache",
        description="with `harborAdmin` and `public: false`: full name of the robot account",
        details="Without it, robot$talos-cache-<stack>. Change it if your Harbor has another "
        "robot prefix.",
        example="robot$talos",
        pattern=ROBOT.pattern,
    ),
)


def _commands(commands: tuple[str, ...]) -> str:
    name, password = commands
    return f"\n  {name} NAME\n  {password}"


CREDENTIALS_GROUP = Group(
    path=CREDENTIALS,
    description="user names and passwords of upstreams, a secret of its own",
    details="Only in a stack of your own: the passphrase of the stacks that come with the project "
    "is public. Never write it by hand:"
    + _commands(tuple(set_secret("docker.io", name) for name in NAMES)),
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
    return Group(path=path, description=description, details=details + commands)


LOGIN_GROUPS = (
    _login(
        CACHE_LOGIN,
        "user name and password that every cache asks for, a secret of its own",
        "Nodes get it in their patch. Without it anybody who reaches a cache may pull. Set it, "
        "with cache.tls, on a shared network.",
    ),
    _login(
        HARBOR_ADMIN,
        "an account of Harbor that may make projects, a secret of its own",
        "Set it to have the projects made. Without it the stack makes nothing there.",
    ),
    _login(
        HARBOR_LOGIN,
        "what nodes pull with from projects that somebody else has made, a secret of its own",
        "A robot account, for instance, with repository:pull, and artifact:read for verify and "
        "warm. Without it anybody may pull from them. Not beside harborAdmin.",
    ),
)
_WORDS = {
    CACHE_LOGIN: (
        "user name that every cache asks for, without a colon",
        f"its password, at most {MOST_PASSWORD_BYTES} bytes",
    ),
    HARBOR_ADMIN: (
        "user name of an account that may make projects",
        "its password",
    ),
    HARBOR_LOGIN: (
        "what nodes pull with from projects that others have made",
        "its password",
    ),
}
LOGIN_KEYS = tuple(
    secret(f"{login}.{name}", set_login(login, name), description)
    for login, descriptions in _WORDS.items()
    for name, description in zip(NAMES, descriptions, strict=True)
)
