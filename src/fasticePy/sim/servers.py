"""Servers in the virtual network."""

from __future__ import annotations

from fasticePy.machine import Address
from fasticePy.sim.driver import Node
from fasticePy.stun.server import BindingServer


class StunServerNode(Node[BindingServer]):
    """A STUN Binding server on all addresses of a host. `Simulation.add_stun_server` makes it.

    A server that fails is one whose host's links do: `node.host.uplink.up = False` lets it hear and say nothing.
    """

    addresses: list[Address]
    """Where it listens, in the order of the host's addresses."""

    def listen(self, port: int) -> None:
        """Open the sockets. Raises BindError when the port is taken."""
        sockets = [self.bind(address, port) for address in self.host.addresses]
        self.addresses = [self.address_of(socket) for socket in sockets]

    @property
    def address(self) -> Address:
        """Where it listens first."""
        return self.addresses[0]
