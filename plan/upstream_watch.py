"""The watch inside a cache's container that notices when the upstream gives no answer.

See docs/adr/0013-when-the-upstream-is-away.md.
"""

import shlex

from plan.checks import ip_address
from plan.upstreams import address_of

# Where the registry answers for people who look into it; the watch and the credential helper do.
DEBUG_ADDRESS = "127.0.0.1:5001"
# What is not well, in one sentence for `doctor`; not there while all is. In memory, so that it ends
# with the container.
TROUBLE_PATH = "/dev/shm/talos-cache-trouble"  # noqa: S108 - in a container of its own
# One of these for each registry that runs, by its debug address: it has been asked for a user name
# and a password, and has none.
BASIC_PATH = "/dev/shm/talos-cache-basic"  # noqa: S108 - the same

# Runs on busybox alone. `busybox NAME`, because an image need not have a link for every applet.
_SCRIPT = r"""
# The container's entrypoint: starts the watch, then the program in its arguments, the registry.
#
# The registry asks its upstream at every look-up of a tag, and serves what it has as soon as that
# fails. It waits where it does not fail. So the watch makes it fail, in one of two ways:
#
# 1. The upstream swallows packets: no name is looked up any more, neither the upstream's nor that
#    of the server it sends to for tokens, which may be another.
# 2. It takes a request and never answers, or it has no name to look up: the registry is started
#    anew with an upstream that refuses, because nothing else ends its waiting.

resolv=/etc/resolv.conf
notice='# talos-cache: the upstream does not answer, so no name is looked up'
kept='#kept '
# In memory, and gone with the container.
state=/dev/shm/talos-cache
held=$state-held
again=$state-again
pid_file=$state-pid
ended=$state-ended
# Nothing listens there, so that every attempt is refused.
nowhere=http://127.0.0.1:1
# Where a second registry listens that only asks the upstream one question.
asker=127.0.0.1:5002
asker_debug=127.0.0.1:5003
nothing=sha256:0000000000000000000000000000000000000000000000000000000000000000
question=http://$asker/v2/talos-cache/question/blobs/$nothing

say() { echo "talos-cache: $*"; }

# What is the case stands in the file and nowhere else: Docker may write it anew at any time.
is_away() {
    read -r first_line <"$resolv" && [ "$first_line" = "$notice" ]
}

settings() {
    if is_away; then busybox sed -n "s/^$kept//p" "$resolv"; else cat "$resolv"; fi
}

go_away() {
    new=$(echo "$notice"; echo 'nameserver 127.0.0.1'; busybox sed "s/^/$kept/" "$resolv")
    echo "$new" >"$resolv"
    say "upstream $name does not answer: serving what is cached"
}

come_back() {
    new=$(settings)
    echo "$new" >"$resolv"
    say "upstream $name is back"
}

# As the registry does: a name without a dot is tried in the search domains first.
full_names() {
    case $name in
        *.*) ;;
        *) settings | busybox awk -v name="$name" \
            '$1 == "search" { for (i = 2; i <= NF; i++) print name "." $i }' ;;
    esac
    echo "$name"
}

# busybox's nslookup asks the server it is given, whatever the file says.
addresses() {
    for server in $(settings | busybox awk '$1 == "nameserver" { print $2 }'); do
        for full_name in $(full_names); do
            busybox nslookup -retry=2 -timeout=1 "$full_name" "$server" 2>/dev/null
        done
    done | busybox awk '
        $1 == "Server:" { answer = 0 }
        $1 == "Name:" { answer = 1 }
        answer && $1 == "Address:" { print $2 }'
}

# Connects to all addresses side by side; nothing is sent.
answers() {
    attempts=
    for address in $(addresses); do
        busybox nc -w 2 "$address" "$port" -e busybox true 2>/dev/null &
        attempts="$attempts $!"
    done
    for attempt in $attempts; do
        wait "$attempt" && return 0
    done
    return 1
}

# Sets `sent_again`, a count, and `connected`, how many connections are open.
# (The list of TCP sockets would say more, but takes milliseconds to read, every second.)
read_counters() {
    counters=$(busybox awk '/^Tcp: [0-9]/ { print $13, $10 }' /proc/net/snmp)
    sent_again=${counters% *}
    connected=${counters#* }
}

# Costs no packet: something was sent again since the last look, or a name server is being asked.
may_be_away() {
    [ "$sent_again" != "$seen" ] || busybox grep -q ':0035 ' $udp_sockets
}

# What a registry's program does at this moment, by its debug address. (`wget -T` is broken in some
# builds of busybox.)
goroutines() {
    busybox timeout 2 busybox wget -q -O - "http://$1/debug/pprof/goroutine?debug=2"
}

# One line for each look-up for which the registry waits for the upstream: how many looks have found
# it waiting, for what, and what tells it from others.
requests() {
    goroutines "$REGISTRY_HTTP_DEBUG_ADDR" |
        waits="$waits" busybox awk '
            BEGIN {
                count = split(ENVIRON["waits"], lines, "\n")
                for (i = 1; i <= count; i++) { split(lines[i], part, " "); age[part[3]] = part[1] }
                RS = ""; FS = "\n"
            }
            {
                kind = ""
                for (i = 2; i <= NF; i++) {
                    if ($i ~ /\/proxy\.ping\(/) { kind = "ping"; call = $i }
                    else if ($i ~ /\/client\.\(\*tags\)\.Get\(/) { kind = "look-up"; call = $i }
                }
                if (!kind) next
                split($1, goroutine, " ")
                gsub(/[^0-9A-Za-z]/, "", call)
                key = goroutine[2] "-" call
                print age[key] + 1, kind, key
            }'
}

# A second registry, which keeps nothing, asks the upstream with the same certificates, proxy and
# login. False only if a look-up takes too long there: 2 s, but 5 s while it waits for a token.
is_answered() {
    busybox rm -f "$basic.$asker_debug" "$ended"
    (
        unset REGISTRY_HTTP_TLS_CERTIFICATE REGISTRY_HTTP_TLS_KEY
        unset REGISTRY_AUTH_HTPASSWD_PATH REGISTRY_AUTH_HTPASSWD_REALM
        export REGISTRY_HTTP_ADDR=$asker REGISTRY_HTTP_DEBUG_ADDR=$asker_debug
        export REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=$state-asker
        exec "$@" >/dev/null 2>&1
    ) &
    second=$!
    tries=0
    until busybox nc "${asker%:*}" "${asker#*:}" -e busybox true 2>/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || break
        busybox sleep 0.1
    done
    (
        busybox wget -q -O /dev/null "$question" 2>/dev/null
        : >"$ended"
    ) &
    waiter=$!
    looks=0
    while [ ! -e "$ended" ] && [ "$looks" -lt 50 ]; do
        busybox sleep 0.1
        looks=$((looks + 1))
        if [ "$looks" -eq 20 ] && ! goroutines "$asker_debug" | busybox grep -q fetchToken; then
            break
        fi
    done
    in_time=1
    [ ! -e "$ended" ] || in_time=0
    kill "$second" 2>/dev/null
    wait "$second" "$waiter" 2>/dev/null
    busybox rm -rf "$state-asker"
    return "$in_time"
}

start_anew() {
    : >"$again"
    kill "$(cat "$pid_file")"
    # The entrypoint takes the file away when the next one starts.
    while [ -e "$again" ]; do busybox sleep 0.1; done
    waits=
}

hold() {
    say "upstream $name takes requests and does not answer: serving what is cached"
    echo 'its upstream takes requests and does not answer' >"$trouble"
    : >"$held"
    held_looks=0
    start_anew
}

let_go() {
    busybox rm -f "$held" "$trouble"
    start_anew
    say "upstream $name is back"
}

# A request is looked at again after every fifth look: each costs the upstream a question.
look_at_requests() {
    if [ "$connected" -eq 0 ]; then
        waits=
        return
    fi
    waits=$(requests)
    echo "$waits" | busybox awk '$1 % 5 == 2 { due = 1 } END { exit !due }' || return 0
    if ! is_answered "$@"; then
        hold
    elif echo "$waits" | busybox awk '$2 == "ping" && $1 > 5 { lost = 1 } END { exit !lost }'; then
        # It holds a lock that every look-up needs.
        say "a request to upstream $name got lost: the registry is started anew"
        start_anew
    fi
}

# It keeps what it was asked for, and asks nothing more, until it is started anew.
is_deaf() { [ -e "$basic.$REGISTRY_HTTP_DEBUG_ADDR" ]; }

listen_again() {
    if [ ! -e "$trouble" ]; then
        say "upstream $name wants a user name and a password: serving what is cached"
        echo 'its upstream wants a user name and a password, and it has none' >"$trouble"
    fi
    if is_answered "$@" && [ ! -e "$basic.$asker_debug" ]; then
        let_go
    fi
}

# A name that stands in the hosts file is found there whatever the watch does.
is_in_hosts_file() {
    busybox awk -v name="$name" '
        { for (i = 2; i <= NF; i++) if ($i == name) found = 1 }
        END { exit !found }' /etc/hosts
}

watch() {
    # Without IPv6 there is only one.
    udp_sockets=$(ls /proc/net/udp /proc/net/udp6 2>/dev/null)
    waits=
    read_counters
    seen=$sent_again
    [ -z "$by_name" ] || is_away || answers || go_away
    while :; do
        if [ -e "$held" ]; then
            busybox sleep 3
            # Not sooner after it was held: each time costs the pulls that are under way.
            held_looks=$((held_looks + 1))
            [ "$held_looks" -lt 3 ] || ! is_answered "$@" || let_go
        elif [ -n "$by_name" ] && is_away; then
            busybox sleep 3
            answers && come_back
            read_counters
            # One that was asked before may never be answered.
            look_at_requests "$@"
            seen=$sent_again
        elif is_deaf; then
            busybox sleep 8
            listen_again "$@"
        else
            busybox sleep 1
            read_counters
            if [ -n "$by_name" ] && may_be_away && ! answers; then
                go_away
            else
                look_at_requests "$@"
            fi
            seen=$sent_again
        fi
    done
}

held_looks=0
[ -z "$by_name" ] || ! is_in_hosts_file || by_name=
busybox rm -f "$held" "$again" "$trouble"
# Started again if it ends: names must not stay off for ever.
while :; do (watch "$@"); busybox sleep 1; done &

ending=
trap 'ending=yes; kill "$registry" 2>/dev/null' TERM INT
while :; do
    busybox rm -f "$basic.$REGISTRY_HTTP_DEBUG_ADDR"
    if [ -e "$held" ]; then
        REGISTRY_PROXY_REMOTEURL=$nowhere "$@" &
    else
        busybox rm -f "$trouble"
        "$@" &
    fi
    registry=$!
    echo "$registry" >"$pid_file"
    busybox rm -f "$again"
    status=0
    wait "$registry" || status=$?
    # A signal ends the waiting, too.
    while kill -0 "$registry" 2>/dev/null; do
        wait "$registry" || status=$?
    done
    if [ -n "$ending" ] || [ ! -e "$again" ]; then exit "$status"; fi
done
"""


def script(remote_url: str) -> str:
    """Text of the program."""
    name, port = address_of(remote_url)
    # Only an upstream that has to be looked up can be taken away from the registry.
    by_name = "" if ip_address(name) else "yes"
    settings = f"name={shlex.quote(name)}\nport={port}\nby_name={by_name}\n"
    paths = f"trouble={TROUBLE_PATH}\nbasic={BASIC_PATH}\n"
    return f"#!/bin/sh\n{settings}{paths}{_SCRIPT}"
