"""Ports of this machine that a program outside Docker has, tried for real."""

import socket

import pytest

from ops.registry import listening
from plan.host_ports import TCP, UDP, HostPort

KINDS = {TCP: socket.SOCK_STREAM, UDP: socket.SOCK_DGRAM}


def told(port, address="127.0.0.1", protocol=TCP):
    wanted = HostPort(address=address, port=port, protocol=protocol)
    return listening.conflict(wanted, "for a test", otherwise="take another", keys="some.key")


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_port_that_a_program_has(protocol):
    with socket.socket(socket.AF_INET, KINDS[protocol]) as program:
        program.bind(("127.0.0.1", 0))
        if protocol == TCP:
            program.listen()
        port = program.getsockname()[1]
        text = told(port, protocol=protocol)
    assert f"Port {port}{'' if protocol == TCP else '/udp'} of 127.0.0.1, for a test" in text
    assert f"sudo ss {'-ltnp' if protocol == TCP else '-lunp'} 'sport = :{port}'" in text
    assert text.endswith("Stop it, or take another.")
    assert told(port, protocol=protocol) is None, "it is free again"


def test_of_the_two_addresses_that_stand_for_all_one_is_for_ipv6_alone():
    with socket.create_server(("127.0.0.1", 0)) as program:
        port = program.getsockname()[1]
        assert told(port, address="::") is None
        assert "is taken by a program" in told(port, address="0.0.0.0")


def test_an_address_that_this_machine_does_not_have():
    text = told(15999, address="192.0.2.1")
    assert "192.0.2.1 can't be listened on" in text
    assert text.endswith("Correct some.key.")


def test_a_port_that_only_root_may_have_is_no_conflict(monkeypatch):
    """Docker is root."""

    class OfAUser(socket.socket):
        def bind(self, address):
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "socket", OfAUser)
    assert told(80) is None
