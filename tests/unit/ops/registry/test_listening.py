"""Ports of this machine that a program outside Docker has, tried for real."""

import socket

import pytest

from ops.registry import listening
from plan.host_ports import TCP, UDP, HostPort

KINDS = {TCP: socket.SOCK_STREAM, UDP: socket.SOCK_DGRAM}


def conflict(port, address="127.0.0.1", protocol=TCP):
    wanted = HostPort(address=address, port=port, protocol=protocol)
    return listening.conflict(wanted, "for a test", otherwise="take another", keys="some.key")


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_port_that_a_program_has(protocol):
    with socket.socket(socket.AF_INET, KINDS[protocol]) as program:
        program.bind(("127.0.0.1", 0))
        if protocol == TCP:
            program.listen()
        port = program.getsockname()[1]
        text = conflict(port, protocol=protocol)
    assert f"Port {port}{'' if protocol == TCP else '/udp'} of 127.0.0.1, for a test" in text
    assert f"sudo ss {'-ltnp' if protocol == TCP else '-lunp'} 'sport = :{port}'" in text
    assert text.endswith(" or take another.")
    assert conflict(port, protocol=protocol) is None, "it is free again"


def test_of_the_two_addresses_that_mean_all_one_is_for_ipv6_alone():
    with socket.create_server(("127.0.0.1", 0)) as program:
        port = program.getsockname()[1]
        assert conflict(port, address="::") is None
        assert f"Port {port} of 0.0.0.0" in conflict(port, address="0.0.0.0")


def test_an_address_that_this_machine_does_not_have():
    text = conflict(15999, address="192.0.2.1")
    assert text.startswith("192.0.2.1 ")
    assert text.endswith("Correct some.key.")


def test_a_port_that_only_root_may_have_is_not_a_conflict(monkeypatch):
    """Docker is root."""

    class OfAUser(socket.socket):
        def bind(self, address):
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "socket", OfAUser)
    assert conflict(80) is None
