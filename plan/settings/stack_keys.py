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
# An upstream outside the known six, and one of them, that the example file shows keys for.
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
        "where upstreams are cached that say nothing else: `local` or `harbor`",
        "local is a cache on this machine for each. Change it when your team's Harbor takes the "
        "place of caches on laptops.",
    ),
    Key(
        path="addressing",
        type=TEXT,
        default=DOCKER_BRIDGE,
        rule=f"{DOCKER_BRIDGE}, {QEMU_BRIDGE}, an IP address or a host name (no scheme, no port)",
        fix=f"write {DOCKER_BRIDGE}",
        description="how nodes reach the caches: `docker-bridge`, `qemu-bridge`, an IP address or "
        "a host name",
        details="Change it when your nodes are not on this machine's Docker or QEMU.\n"
        "  docker-bridge  publishes on loopback and on the address of Docker's bridge, read from "
        "Docker;\n"
        "                 Docker nodes and QEMU VMs on this machine reach it, the network outside "
        "does not\n"
        "  qemu-bridge    uses the first address of cluster.cidr; publishes on every address "
        "(0.0.0.0)\n"
        "  an IP address  of this machine: publishes on it and on loopback\n"
        "  a host name    that nodes resolve: REQUIRES bindAddresses",
        pattern=_ADDRESSING,
    ),
    Key(
        path="bindAddresses",
        type=LIST,
        default=(),
        rule="an IP address of this machine, as text and without a port",
        fix='write for instance "192.168.1.10"',
        description="addresses of this machine to publish on, instead of what addressing implies",
        details="Loopback is always added. Change it with a host name as addressing, or on a "
        "machine with several networks.",
        pattern=f"{_IPV4}|{_IPV6}",
    ),
    boolean(
        "exposeToLan",
        False,
        "allow caches that hold credentials to be published on every address",
        "Change it only if everyone on your network may pull what these credentials can.",
    ),
    Key(
        path="prefix",
        type=TEXT,
        default="registry",
        # Docker's own rule for names, kept short enough for a prefix with a long host behind it.
        rule="Docker names start with a letter or digit and hold letters, digits, '_', '.' and "
        "'-'; a prefix has at most 63 of them",
        fix="write for instance registry",
        description="start of the names of containers and volumes: `<prefix>-<host>`",
        details="Change it, together with basePort, when two stacks share one Docker. A changed "
        "prefix starts with empty volumes.",
        pattern=r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}",
    ),
    integer(
        "basePort",
        DEFAULT_BASE_PORT,
        (PORT_RANGE[0], PORT_RANGE[1] - LARGEST_OFFSET),
        "the base port",
        "port of docker.io's cache; the other known upstreams follow at fixed distances",
        "registry.k8s.io follows at +1, quay.io at +2, gcr.io at +3, ghcr.io at +4 and "
        "factory.talos.dev at +6. Change it when these ports are taken.",
    ),
    boolean(
        "offline",
        False,
        "serve what is cached, read-only and without any upstream",
        "The volumes stay the same. What is cached is served at once, anything else is not found. "
        "Change it on a train, or on an air-gapped site; back to false, and the caches fill up "
        "again.",
    ),
)

CACHE_GROUP = Group(path="cache", description="what all caches have in common", default={})
CACHE = (
    Key(
        path="cache.image",
        type=TEXT,
        default="registry:3.1.2",
        rule="an image reference with an exact tag or a digest",
        fix="write for instance registry:3.1.2",
        description="the registry's image, with an exact tag or a digest; distribution v3 or newer",
        details="Change it to upgrade, or to a mirror of the image: every cache is replaced, its "
        "data stays.",
        # Not of version 2 or older; with a digest, or a tag that is not `latest`. The check says
        # which of these is wrong.
        pattern=r"(?!(.*/)?registry:v?[0-2](\.|@|$))(?=.*@|.*:(?!latest$)[^/]+$)"
        rf"({IMAGE.pattern})",
    ),
    duration(
        "cache.ttl",
        "0",
        'how long cached content is kept, as a Go duration; `"0"` for ever',
        'For instance "168h".',
        zero="to keep images for ever",
    ),
    choice(
        "cache.onDestroy",
        ON_DESTROY[0],
        ON_DESTROY,
        "what `pulumi destroy` does with the volumes: `keep` or `delete`",
        "A kept volume is used again by the next `pulumi up`.",
    ),
    integer(
        "cache.waitSeconds",
        60,
        (1, 3600),
        "the wait",
        "how many seconds `pulumi up` waits for every cache to answer",
        "Raise it on a slow machine.",
    ),
    boolean(
        "cache.tls",
        False,
        "the caches serve HTTPS, with a certificate generated here unless one is given",
        "Change it if nodes pull across a network. The nodes get the CA. A certificate that was "
        "generated here is regenerated by an `up` in its last 30 days.",
    ),
    file(
        "cache.certificate",
        "certs/cache.pem",
        'a certificate of your own: `"@file.pem"`',
        "The path is relative to the project. It must name the address or host name that nodes "
        "use. Without it, one is generated here. certificate and key go together.",
    ),
    file("cache.key", "certs/cache.key", 'the key of that certificate: `"@file.key"`', ""),
    file(
        "cache.ca",
        "certs/ca.pem",
        'the CA that issued it: `"@file.pem"`',
        "Leave it out if nodes trust it already.",
    ),
)

PROXY_GROUP = Group(
    path="upstreamProxy",
    description="the proxy between this machine and the Internet, for all caches",
    details="Without it there is none. Nodes do not use it: they ask the caches.",
)
PROXY = (
    Key(
        path="upstreamProxy.url",
        type=TEXT,
        default=REQUIRED,
        rule="http:// or https:// and the proxy's host and port",
        fix='write for instance url: "http://proxy.example.com:3128"',
        description="the proxy's URL, with its port and without a user name or a password",
        details="The containers show it to anybody who may look at them. If the proxy asks for a "
        "login, run a local one that logs in to it (cntlm, px) on the address of Docker's bridge, "
        "and name that. Loopback can't work, since to a cache it is the cache itself.",
        example='"http://proxy.example.com:3128"',
        pattern=rf"{URL_HOST}:[0-9]{{1,5}}/?",
    ),
    Key(
        path="upstreamProxy.noProxy",
        type=LIST,
        default=(),
        rule="a list of hosts, domains (.example.com) and networks (10.0.0.0/8)",
        fix='write for instance [".example.com"]',
        description="hosts (with all below them), domains and networks that are reached without it",
        details="Change it for upstreams inside your own network, for instance "
        "[.corp.example.com, 10.0.0.0/8].",
        pattern=f"{NO_PROXY_NAME.pattern}|{_NETWORK}",
    ),
)

UPSTREAM_GROUP = Group(
    path="upstreams",
    description="upstream registries by host; when present, it replaces the six defaults exactly",
    details=f"The host is that of an image reference. The defaults ({', '.join(KNOWN)}) have an "
    "address and a port of their own already.",
    default={host: {} for host in KNOWN},
    first="docker.io: {}",
)
UPSTREAM = (
    Key(
        path="upstreams.<host>.remoteUrl",
        type=TEXT,
        rule="http:// or https:// and a host, with nothing behind it but a port (1 to 65535)",
        fix=f'write for instance "https://{_OTHER}"',
        description="where the upstream's API is; required outside the six",
        details="Behind Harbor it is required only with harborAdmin. No path, no credentials, no "
        "loopback: to a cache that is the cache itself.",
        example=f"https://{_OTHER}",
        host=_OTHER,
        pattern=URL.pattern,
    ),
    integer(
        "upstreams.<host>.port",
        None,
        PORT_RANGE,
        "a port",
        "port of this cache; required outside the six, so that it never moves",
    ).shown(example="5010", host=_OTHER),
    boolean(
        "upstreams.<host>.skipFallback",
        False,
        "nodes never ask the upstream itself when the cache fails",
        "Set it to see at once when a cache is not used, and on air-gapped sites.",
    ).shown(host=_OTHER),
    boolean(
        "upstreams.<host>.overridePath",
        False,
        "nodes take the mirror's path as it stands instead of adding /v2",
        "The endpoint is then written with /v2. Change it for clients that need the full path.",
    ).shown(host=_OTHER),
    Key(
        path="upstreams.<host>.pathPrefix",
        type=TEXT,
        rule="the start of a repository's path: small letters, digits, '.', '_', '-' and '/' "
        "between",
        fix="write for instance proxy-docker.io",
        description="what stands before every repository's name there, such as a Harbor's project",
        details="Without /v2. Set it if the upstream is a project of your team's Harbor or "
        "Artifactory, which then is asked once per machine, as the Internet is asked once per "
        "team. What a Harbor does not hold yet comes only after `warm`, or some minutes later.",
        example="proxy-docker.io",
        host=_OTHER,
        pattern=rf"(?!v2(/|$)){PATH.pattern}",
    ),
    file(
        "upstreams.<host>.ca",
        "certs/corporate-ca.pem",
        'a private CA that its certificate comes from: `"@file.pem"`',
        "The path is relative to the project. The usual CAs are trusted as well.",
        host=_OTHER,
    ),
    choice(
        "upstreams.<host>.credentialsFrom",
        None,
        (DOCKER_CONFIG,),
        "`docker-config` takes its credentials from `docker login` on this machine",
        "They are read at every `up`, and take the place of `credentials`. Set it if a credential "
        "helper keeps them. Only in a stack of your own.",
    ).shown(example=DOCKER_CONFIG, host=_OTHER),
    choice(
        "upstreams.<host>.backend",
        None,
        BACKENDS,
        "`local` or `harbor`, for this upstream alone",
        "Without it, the stack's backend. Behind Harbor an upstream has no port, overridePath, "
        "pathPrefix and ca.",
    ).shown(example="harbor", host=_SIXTH),
)
