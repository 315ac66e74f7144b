"""The watch inside a cache's container that notices when the upstream swallows packets.

See docs/adr/0013-when-the-upstream-is-away.md.
"""

import ipaddress
import shlex

from plan.upstreams import address_of

# Runs on busybox alone. `busybox NAME`, because an image need not have a link for every applet.
_SCRIPT = r"""
# The container's entrypoint: starts the watch, then becomes the program in its arguments.
#
# While the upstream swallows packets, the registry waits for it at every look-up of a tag. As soon
# as it fails to reach the upstream it serves what it has, and it fails at once where the name is
# not found. So no name is looked up while the upstream does not answer: neither the upstream's nor
# that of the server it sends to for tokens, which may be another.

resolv=/etc/resolv.conf
notice='# talos-cache: the upstream does not answer, so no name is looked up'
kept='#kept '

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
    echo "talos-cache: upstream $name does not answer: serving what is cached"
}

come_back() {
    new=$(settings)
    echo "$new" >"$resolv"
    echo "talos-cache: upstream $name is back"
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

# Costs no packet: something was sent again since the last look, or a name server is being asked.
# (The list of TCP sockets would say more, but takes milliseconds to read, every second.)
may_be_away() {
    before=$seen
    seen=$(times_sent_again)
    [ "$seen" != "$before" ] || busybox grep -q ':0035 ' $udp_sockets
}

times_sent_again() {
    busybox awk '$1 == "Tcp:" { print $13 }' /proc/net/snmp
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
    seen=$(times_sent_again)
    is_away || answers || go_away
    while :; do
        if is_away; then
            busybox sleep 3
            answers && come_back
            seen=$(times_sent_again)
        else
            busybox sleep 1
            may_be_away && ! answers && go_away
        fi
    done
}

# Started again if it ends: names must not stay off for ever.
is_in_hosts_file || while :; do (watch); busybox sleep 1; done &
exec "$@"
"""


def script(remote_url: str) -> str:
    """Text of the program; empty for an upstream that is given by its IP address.

    Only an upstream that has to be looked up can be taken away from the registry.
    """
    name, port = address_of(remote_url)
    if _is_ip_address(name):
        return ""
    return f"#!/bin/sh\nname={shlex.quote(name)}\nport={port}\n{_SCRIPT}"


def _is_ip_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
