"""Checks whether a program outside Docker has a port of this machine."""

import errno
import socket

from plan.host_ports import UDP, HostPort


def conflict(port: HostPort, purpose: str, *, otherwise: str, keys: str) -> str | None:
    """Try to listen there.

    Args:
        port: of this machine, with its address.
        purpose: what it is for, to continue a sentence that begins with the port.
        otherwise: what to do instead of stopping the program that has it.
        keys: the settings that say where to listen.

    Returns:
        Why it is not available, with what to do; None if it is free, or if only root can find
        that out, as Docker does.
    """
    error = _refusal(port)
    if error is None or error.errno == errno.EACCES:
        return None
    if error.errno != errno.EADDRINUSE:
        return (
            f"{port.address} can't be used ({error.strerror}): it is not an address of this "
            f"machine. Correct {keys}."
        )
    options = "-lunp" if port.protocol == UDP else "-ltnp"
    return (
        f"{port}, {purpose}, is taken by a program outside Docker (sudo ss {options} "
        f"'sport = :{port.port}' shows it). Stop it, or {otherwise}."
    )


def _refusal(port: HostPort) -> OSError | None:
    family = socket.AF_INET6 if ":" in port.address else socket.AF_INET
    kind = socket.SOCK_DGRAM if port.protocol == UDP else socket.SOCK_STREAM
    with socket.socket(family, kind) as probe:
        if family == socket.AF_INET6:  # as Docker's own proxy does, which has one for each
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if port.protocol != UDP:  # there it would let two programs have one port
            # As Docker's own proxy does: connections that linger after a close don't count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((port.address, port.port))
        except OSError as error:
            return error
    return None
