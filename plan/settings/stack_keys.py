"""The rows of the table for the stack itself, its caches, its proxy and its upstreams."""

from plan.settings.caches import IMAGE, NO_PROXY_NAME, ON_DESTROY
from plan.settings.key import (
    LIST,
    REQUIRED,
    TEXT,
    Group,
    Key,
    boolean,
    choice,
    duration,
    file,
    integer,
)
from plan.settings.upstreams import (
    BACKENDS,
    DOCKER_CONFIG,
    HOST_NAME,
    LOCAL,
    PATH,
    PORT_RANGE,
    URL,
    URL_HOST,
)
from plan.upstreams import DEFAULT_BASE_PORT, KNOWN, LARGEST_OFFSET

DOCKER_BRIDGE = "docker-bridge"
QEMU_BRIDGE = "qemu-bridge"
# An upstream that is not built in and one that is: the example file shows keys for them.
_OTHER, _SIXTH = "registry.example.com", "gcr.io"

_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}(\.{_OCTET}){{3}}"
_IPV6 = r"[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*"
_ADDRESSING = rf"(?!(0\.0\.0\.0|::)$)({_IPV4}|{_IPV6}|(?![0-9.]+$){HOST_NAME.pattern})"
_NETWORK = rf"{_IPV4}/([0-9]|[12][0-9]|3[0-2]|{_IPV4})|{_IPV6}(/[0-9]{{1,3}})?"

TOP = (
    choice(
        "backend",
        LOCAL,
        BACKENDS,
        "where upstreams are cached unless they say otherwise: `local` or `harbor`",
        "local runs a cache on this machine for each upstream. Change it if your team's Harbor "
        "replaces the caches on laptops.",
    ),
    Key(
        path="addressing",
        type=TEXT,
        default=DOCKER_BRIDGE,
        rule=f"{DOCKER_BRIDGE}, {QEMU_BRIDGE}, an IP address or a host name (no scheme, no port)",
        fix=f"write {DOCKER_BRIDGE}",
        description="how nodes reach the caches: `docker-bridge`, `qemu-bridge`, an IP address or "
        "a host name",
        details="Change it if your nodes don't run on this machine's Docker or QEMU.\n"
        "  docker-bridge  publishes on loopback and on the address of Docker's bridge, read from "
        "Docker;\n"
        "                 Docker nodes and QEMU VMs on this machine can reach it, other machines "
        "can't\n"
        "  qemu-bridge    uses the first address of cluster.cidr; publishes on every address "
        "(0.0.0.0)\n"
        "  an IP address  of this machine: publishes on it and on loopback\n"
        "  a host name    that nodes can resolve: REQUIRES bindAddresses",
        pattern=_ADDRESSING,
    ),
    Key(
        path="bindAddresses",
        type=LIST,
        default=(),
        rule="an IP address of this machine, as text, without a port",
        fix='write something like "192.168.1.10"',
        description="addresses of this machine to publish on, instead of those that addressing "
        "implies",
        details="Loopback is always added. Set it if addressing is a host name, or if this machine "
        "is in several networks.",
        pattern=f"{_IPV4}|{_IPV6}",
    ),
    boolean(
        "exposeToLan",
        False,
        "allow caches that hold credentials to be published on every address",
        "Change it only if everyone on your network may pull what these credentials can pull.",
    ),
    Key(
        path="prefix",
        type=TEXT,
        default="registry",
        # Docker's own rule for names, kept short enough for a prefix with a long host behind it.
        rule="at most 63 letters, digits, '_', '.' and '-', a letter or digit first (Docker's rule "
        "for names)",
        fix="write something like registry",
        description="prefix of container and volume names: `<prefix>-<host>`",
        details="Change it, together with basePort, if two stacks share one Docker. After a change "
        "the caches start with empty volumes.",
        pattern=r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}",
    ),
    integer(
        "basePort",
        DEFAULT_BASE_PORT,
        (PORT_RANGE[0], PORT_RANGE[1] - LARGEST_OFFSET),
        "port of docker.io's cache; the other built-in upstreams follow at fixed offsets",
        "registry.k8s.io is at +1, quay.io at +2, gcr.io at +3, ghcr.io at +4 and "
        "factory.talos.dev at +6. Change it if these ports are taken.",
    ),
    boolean(
        "offline",
        False,
        "serve what is cached, read-only, without contacting any upstream",
        "The volumes stay the same. What is cached is served at once, anything else is not found. "
        "Set it on a train or on an air-gapped site; set it back to false, and the caches fill up "
        "again.",
    ),
)

CACHE_GROUP = Group(path="cache", description="settings of all caches", default={})
CACHE = (
    Key(
        path="cache.image",
        type=TEXT,
        default="registry:3.1.2",
        rule="an image reference with an exact tag or a digest",
        fix="write something like registry:3.1.2",
        description="the registry's image, with an exact tag or a digest; distribution v3 or newer",
        details="Change it to upgrade, or to pull the image from a mirror: every cache's container "
        "is replaced, its data stays.",
        # Not version 2 or older; a digest, or a tag other than `latest`. The check says which of
        # these is wrong.
        pattern=r"(?!(.*/)?registry:v?[0-2](\.|@|$))(?=.*@|.*:(?!latest$)[^/]+$)"
        rf"({IMAGE.pattern})",
    ),
    duration(
        "cache.ttl",
        "0",
        'how long cached content is kept, as a Go duration; `"0"` keeps it forever',
        'For example "168h".',
        zero="to keep images forever",
    ),
    choice(
        "cache.onDestroy",
        ON_DESTROY[0],
        ON_DESTROY,
        "what `pulumi destroy` does with the volumes: `keep` or `delete`",
        "The next `pulumi up` uses a kept volume again.",
    ),
    integer(
        "cache.waitSeconds",
        60,
        (1, 3600),
        "how many seconds `pulumi up` waits for every cache to answer",
        "Raise it on a slow machine.",
    ),
    boolean(
        "cache.tls",
        False,
        "serve the caches over HTTPS, with a generated certificate or your own",
        "Set it if nodes pull across a network. Nodes get the CA. A generated certificate is "
        "regenerated by an `up` in its last 30 days.",
    ),
    file(
        "cache.certificate",
        "certs/cache.pem",
        'your own certificate: `"@file.pem"`',
        "The path is relative to the project. The certificate must be valid for the address or "
        "host name that nodes use. Without it, one is generated. certificate and key go together.",
    ),
    file("cache.key", "certs/cache.key", 'the private key of that certificate: `"@file.key"`', ""),
    file(
        "cache.ca",
        "certs/ca.pem",
        'the CA that issued it: `"@file.pem"`',
        "Leave it out if nodes trust that CA already.",
    ),
)

PROXY_GROUP = Group(
    path="upstreamProxy",
    description="the proxy between this machine and the Internet, for all caches",
    details="Without it, no proxy is used. Nodes don't use it: they pull from the caches.",
)
PROXY = (
    Key(
        path="upstreamProxy.url",
        type=TEXT,
        default=REQUIRED,
        rule="http:// or https://, the proxy's host and its port",
        fix='write something like url: "http://proxy.example.com:3128"',
        description="the proxy's URL, with its port, without user name and password",
        details="Anyone who may inspect the containers can read it. If the proxy requires a login, "
        "run a local one that logs in to it (cntlm, px) on the address of Docker's bridge, and "
        "write that one's URL. Loopback can't work: in a container it is the container itself.",
        example='"http://proxy.example.com:3128"',
        pattern=rf"{URL_HOST}:[0-9]{{1,5}}/?",
    ),
    Key(
        path="upstreamProxy.noProxy",
        type=LIST,
        default=(),
        rule="a list of hosts, domains (.example.com) and networks (10.0.0.0/8)",
        fix='write something like [".example.com"]',
        description="hosts (and their subdomains), domains and networks to reach without the proxy",
        details="Set it for upstreams inside your own network, for example "
        "[.corp.example.com, 10.0.0.0/8].",
        pattern=f"{NO_PROXY_NAME.pattern}|{_NETWORK}",
    ),
)

UPSTREAM_GROUP = Group(
    path="upstreams",
    description="upstream registries by host; if present, it replaces all six defaults",
    details=f"The host is that of an image reference. The defaults ({', '.join(KNOWN)}) are built "
    "in: they need no remoteUrl and no port.",
    default={host: {} for host in KNOWN},
    first="docker.io: {}",
)
UPSTREAM = (
    Key(
        path="upstreams.<host>.remoteUrl",
        type=TEXT,
        rule="http:// or https://, a host and, if needed, a port (1 to 65535); nothing else",
        fix=f'write something like "https://{_OTHER}"',
        description="URL of the upstream's API; required unless the upstream is built in",
        details="With the backend harbor it is required only if harborAdmin is set. No path, no "
        "credentials, and no loopback, which in a container is the container itself.",
        example=f"https://{_OTHER}",
        host=_OTHER,
        pattern=URL.pattern,
    ),
    integer(
        "upstreams.<host>.port",
        None,
        PORT_RANGE,
        "port of this cache; required unless the upstream is built in, so that it never changes",
    ).shown(example="5010", host=_OTHER),
    boolean(
        "upstreams.<host>.skipFallback",
        False,
        "keep nodes from pulling from the upstream itself if the cache fails",
        "Set it to notice at once that a cache is not used, and on air-gapped sites.",
    ).shown(host=_OTHER),
    boolean(
        "upstreams.<host>.overridePath",
        False,
        "have nodes use the mirror's path as it is instead of adding /v2",
        "The endpoint is then written with /v2. Set it for clients that need the full path.",
    ).shown(host=_OTHER),
    Key(
        path="upstreams.<host>.pathPrefix",
        type=TEXT,
        rule="the start of a repository's path: lower-case letters and digits, with '.', '_', '-' "
        "and '/' between them",
        fix="write something like proxy-docker.io",
        description="path before every repository's name there, such as a Harbor project",
        details="Without /v2. Set it if the upstream is a project in your team's Harbor or "
        "Artifactory: an image is then fetched from there once per machine, and from the Internet "
        "once per team. What Harbor doesn't have yet comes after `warm`, or some minutes later.",
        example="proxy-docker.io",
        host=_OTHER,
        pattern=rf"(?!v2(/|$)){PATH.pattern}",
    ),
    file(
        "upstreams.<host>.ca",
        "certs/corporate-ca.pem",
        'the private CA that issued its certificate: `"@file.pem"`',
        "The path is relative to the project. The usual CAs are trusted as well.",
        host=_OTHER,
    ),
    choice(
        "upstreams.<host>.credentialsFrom",
        None,
        (DOCKER_CONFIG,),
        "`docker-config` takes its credentials from `docker login` on this machine",
        "They are read at every `up`, instead of `credentials`. Set it if a credential helper "
        "stores them. Only in a stack of your own.",
    ).shown(example=DOCKER_CONFIG, host=_OTHER),
    choice(
        "upstreams.<host>.backend",
        None,
        BACKENDS,
        "`local` or `harbor`, for this upstream only",
        "Without it, the stack's backend applies. An upstream with the backend harbor can't have "
        "port, overridePath, pathPrefix or ca.",
    ).shown(example="harbor", host=_SIXTH),
)
