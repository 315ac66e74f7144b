#!/bin/sh
# What the watchdog of one cache knows: `script` in upstream_watchdog.py writes this paragraph.
name=registry.example.com
port=443
by_name=yes
prefix=team/cache
trouble=/dev/shm/talos-cache-trouble
basic=/dev/shm/talos-cache-basic

# The container's entrypoint: starts the watch, then the program in its arguments, the registry.
#
# The registry asks its upstream at every look-up of a tag, and serves what it has as soon as that
# fails. It waits where it does not fail. So the watch makes it fail, in one of two ways:
#
# 1. The upstream swallows packets: no name is looked up any more, neither the upstream's nor that
#    of the server it sends to for tokens, which may be another.
# 2. It takes a request and never answers, or it has no name to look up: the registry is started
#    anew with an upstream that refuses, because nothing else ends its waiting.

# First of all: the first process of a container does not get a signal that it sets no trap for.
ending=
registry=
trap 'ending=yes; kill "$registry" 2>/dev/null' TERM INT

resolv=/etc/resolv.conf
notice='# talos-cache: the upstream does not answer, so no name is looked up'
kept='#kept '
# In memory, and gone with the container.
state=/dev/shm/talos-cache
# There while the registry runs with an upstream that refuses.
held=$state-held
# There while the registry is to be started anew; in it the upstream, where that is not its own.
again=$state-again
pid_file=$state-pid
second_pid_file=$state-second-pid
# Nothing listens there, so that every attempt is refused.
nowhere=http://127.0.0.1:1
# Where a second registry listens that only asks the upstream one question: for a tag, because what
# it is about is whether the registry's own look-ups of tags are answered.
asker=127.0.0.1:5002
asker_debug=127.0.0.1:5003
question=http://$asker/v2/${prefix:+$prefix/}talos-cache/question/manifests/none
# How many looks, two a second, one step of the question may take before the registry is started
# anew with an upstream that refuses; and before an upstream is taken to be still away.
soon=6
late=12

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
    if [ -z "$by_name" ]; then
        echo "$name"
        return
    fi
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
    # shellcheck disable=SC2086 # one file, or two
    [ "$sent_again" != "$seen" ] || busybox grep -q ':0035 ' $udp_sockets
}

# What a registry's program does at this moment, by its debug address. (`wget -T` is broken in some
# builds of busybox, and `wget -q` says all the same what went wrong.)
goroutines() {
    busybox timeout 2 busybox wget -q -O - "http://$1/debug/pprof/goroutine?debug=2" 2>/dev/null
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

# Whether any line of `waits` is as awk's condition in $1 says.
any() { echo "$waits" | busybox awk "$1 { found = 1 } END { exit !found }"; }

# How much the registry has written to its disk.
written() {
    busybox awk '$1 == "write_bytes:" { print $2 }' "/proc/$(cat "$pid_file")/io" 2>/dev/null
}

# $1: `written` of some seconds ago.
is_downloading() {
    [ "$(written)" != "$1" ] &&
        goroutines "$REGISTRY_HTTP_DEBUG_ADDR" | busybox grep -q 'copyContent('
}

# What the second registry waits for: a connection, a token, `/v2/`, the answer to HEAD, or to the
# GET that follows where there is no such tag (these two by the line of the source).
step() {
    goroutines "$asker_debug" |
        busybox grep -o -E '(dialConn|fetchToken|proxy\.ping)\(|client/repository\.go:[0-9]+' |
        busybox sort -u
}

asker_listens() { busybox nc "${asker%:*}" "${asker#*:}" -e busybox true 2>/dev/null; }

# A second registry, which keeps nothing, asks the upstream with the same certificates, proxy and
# login. False if that takes no connection, or one step of the question lasts for $1 looks. Sets
# `longest`, that of all steps. (With no name to look up it is answered at once.)
is_answered() {
    allowed=$1
    shift
    is_away || answers || return 1
    # Of a watch that was killed meanwhile. While it ends, another could not listen there, and would
    # seem to have been answered.
    while asker_listens; do
        kill -9 "$(cat "$second_pid_file" 2>/dev/null)" 2>/dev/null
        busybox sleep 0.1
    done
    busybox rm -f "$basic.$asker_debug"
    (
        unset REGISTRY_HTTP_TLS_CERTIFICATE REGISTRY_HTTP_TLS_KEY
        unset REGISTRY_AUTH_HTPASSWD_PATH REGISTRY_AUTH_HTPASSWD_REALM
        # shellcheck disable=SC2030 # for the second one alone
        export REGISTRY_HTTP_ADDR=$asker REGISTRY_HTTP_DEBUG_ADDR=$asker_debug
        export REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=$state-asker
        exec "$@" >/dev/null 2>&1
    ) &
    second=$!
    echo "$second" >"$second_pid_file"
    tries=0
    until asker_listens; do
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || break
        busybox sleep 0.1
    done
    busybox timeout 60 busybox wget -q -O /dev/null "$question" 2>/dev/null &
    waiter=$!
    before=
    looks=0
    longest=0
    in_time=0
    while kill -0 "$waiter" 2>/dev/null; do
        [ "$looks" -lt "$allowed" ] || { in_time=1; break; }
        busybox sleep 0.5
        now=$(step)
        [ "$now" = "$before" ] || looks=0
        before=$now
        [ -z "$now" ] || looks=$((looks + 1))
        [ "$looks" -le "$longest" ] || longest=$looks
    done
    kill -9 "$second" "$waiter" 2>/dev/null
    wait "$second" "$waiter" 2>/dev/null
    busybox rm -rf "$state-asker" "$second_pid_file"
    return "$in_time"
}

# $1: the upstream that the registry has from now on; empty for its own.
start_anew() {
    echo "$1" >"$again"
    kill "$(cat "$pid_file")" 2>/dev/null
    # The entrypoint takes the file away when the next one starts.
    while [ -e "$again" ]; do busybox sleep 0.1; done
    waits=
}

hold() {
    say "upstream $name gives no answer: serving what is cached"
    echo 'its upstream gives no answer' >"$trouble"
    start_anew "$nowhere"
    # Not sooner: each time costs the pulls that are under way.
    busybox sleep 6
}

let_go() {
    # One that answers so late is slow, and not to be taken for one that does not.
    [ "$longest" -lt "$soon" ] || soon=$late
    start_anew ''
    say "upstream $name is back"
}

# A request is looked at again after every fifth look: each costs the upstream a question.
# shellcheck disable=SC2016 # awk's own variables
look_at_requests() {
    if [ "$connected" -eq 0 ]; then
        waits=
        return
    fi
    waits=$(requests)
    any '$1 % 5 == 2' || return 0
    written_before=$(written)
    answered=
    ! is_answered "$soon" "$@" || answered=yes
    # What has ended meanwhile was only slow.
    waits=$(requests)
    if [ -z "$answered" ]; then
        ! any '$1 > 2' || is_downloading "$written_before" || hold
    elif any '$2 == "ping" && $1 > 7'; then
        # It holds a lock that every look-up needs.
        say "a request to upstream $name got lost: the registry is started anew"
        start_anew ''
    else
        # A look-up that waits all the same, as of one repository alone, is left alone for a while.
        waits=$(echo "$waits" | busybox awk '$2 == "look-up" && $1 > 0 { $1 -= 30 } 1')
    fi
}

# It keeps what it was asked for, and asks nothing more, until it is started anew.
# shellcheck disable=SC2031 # that of the first
is_deaf() { [ -e "$basic.$REGISTRY_HTTP_DEBUG_ADDR" ]; }

listen_again() {
    if [ ! -e "$trouble" ]; then
        say "upstream $name wants a user name and a password: serving what is cached"
        echo 'its upstream wants a user name and a password, and it has none' >"$trouble"
    fi
    if is_answered "$late" "$@" && [ ! -e "$basic.$asker_debug" ]; then
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
            # A question may just have begun when the upstream returns, and take all of its time.
            # With the pause and the next one that has to be less than 15 s.
            busybox sleep 3
            ! is_answered "$late" "$@" || let_go
        elif [ -n "$by_name" ] && is_away; then
            busybox sleep 3
            answers && come_back
            read_counters
            # One that was asked before may never be answered.
            look_at_requests "$@"
            seen=$sent_again
        elif is_deaf; then
            busybox sleep 6
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

[ -z "$by_name" ] || ! is_in_hosts_file || by_name=
busybox rm -f "$held" "$again" "$trouble"
# Started again if it ends: names must not stay off for ever.
while :; do (watch "$@"); busybox sleep 1; done &

while :; do
    # shellcheck disable=SC2031 # that of the first
    busybox rm -f "$basic.$REGISTRY_HTTP_DEBUG_ADDR"
    instead=$(cat "$again" 2>/dev/null)
    if [ -n "$instead" ]; then
        : >"$held"
        REGISTRY_PROXY_REMOTEURL=$instead "$@" &
    else
        busybox rm -f "$held" "$trouble"
        "$@" &
    fi
    registry=$!
    # Told to end while none ran. It may be too young to hear of anything less.
    [ -z "$ending" ] || kill -9 "$registry"
    echo "$registry" >"$pid_file"
    busybox rm -f "$again"
    status=0
    wait "$registry" 2>/dev/null || status=$?
    # A signal ends the waiting, too. (Of one that was told to end, the shell would say so.)
    while kill -0 "$registry" 2>/dev/null; do
        wait "$registry" 2>/dev/null || status=$?
    done
    if [ -n "$ending" ] || [ ! -e "$again" ]; then exit "$status"; fi
done
