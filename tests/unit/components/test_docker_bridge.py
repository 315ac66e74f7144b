"""The address of Docker's bridge, and where it is read."""

import pulumi
import pytest

from components import docker_bridge
from host import interfaces
from tests.unit.components.engine import NETWORK, ProviderError, network, run


def gateway(bridge):
    found = []
    record = run(lambda: found.append(docker_bridge.gateway()), bridge=bridge)
    return found[0], record


def test_the_gateway_is_what_docker_reports():
    address, record = gateway(network("172.30.0.1"))
    assert address == "172.30.0.1"
    assert record.calls == [(NETWORK, {"name": "bridge"})]


def test_an_empty_gateway_is_passed_over():
    assert gateway(network("", "172.30.0.1"))[0] == "172.30.0.1"


def test_a_bridge_without_a_gateway_is_read_from_its_interface(monkeypatch):
    # Docker reports none right after dockerd's very first start.
    asked = []
    monkeypatch.setattr(
        interfaces, "interface_address", lambda name: asked.append(name) or "172.31.0.1"
    )
    assert gateway(network())[0] == "172.31.0.1"
    assert asked == ["docker0"]


def test_without_gateway_and_interface_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setattr(interfaces, "interface_address", lambda name: None)
    with pytest.raises(pulumi.RunError, match=r"host\.docker\.internal"):
        gateway(network())


def test_an_error_of_the_provider_is_reported_with_what_to_do():
    with pytest.raises(pulumi.RunError, match="Cannot connect to the Docker daemon") as caught:
        gateway(ProviderError("Cannot connect to the Docker daemon"))
    assert "Start Docker" in str(caught.value)


def test_the_address_of_an_interface_is_read_from_the_kernel():
    assert interfaces.interface_address("lo") == "127.0.0.1"


def test_an_interface_that_is_not_there_has_no_address():
    assert interfaces.interface_address("talos-none0") is None
