"""The watchdog's script: upstreams that refuse connections for a long time."""

import socket

from tests.unit.components.watchdog import OWN, REFUSING, WAITING


def test_an_upstream_by_address_that_refuses_connections_gets_no_request(watch):
    watch.upstream.close()
    watch.wait_for(WAITING)
    watch.start()
    watch.until_started(2)
    # However long the outage is: what is new has to come soon after it.
    watch.until(lambda: watch.lines("pauses").count("3") >= 22)
    assert watch.lines("starts") == [OWN, REFUSING]
    assert watch.lines("questions") == []


def test_an_upstream_that_wants_a_login_gets_a_request_once_it_accepts_connections(watch):
    watch.upstream.close()
    watch.start()
    watch.until_started(1)
    note = watch.folder / f"state-basic.{watch.addresses[1]}"
    # The entrypoint removes one of another run first.
    watch.until(lambda: (watch.folder / "state-pid").exists())
    note.touch()
    watch.until_said("wants a user name")
    watch.until(lambda: watch.lines("pauses").count("6") >= 22)
    assert watch.lines("questions") == []
    with socket.create_server(("127.0.0.1", watch.upstream_port)):
        watch.until_said("is back")
    watch.until_started(2)
    assert watch.lines("starts") == [OWN, OWN]
    assert not note.exists()
