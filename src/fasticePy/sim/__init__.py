"""Virtual time and a virtual network: run any machine of this package with no sockets and no waiting.

    sim = Simulation(seed=1)                     # equal seeds: equal runs, packet for packet
    net = sim.network
    a = net.add_host("10.0.0.1")                 # 5 ms each link: 10 ms from host to host
    b = net.add_host("10.0.0.2", "2001:db8::2", link=Link(latency=0.02, jitter=0.005, loss=0.1))
    net.dns.add("stun.example", "192.0.2.1")     # names that agents may ask for

    left = sim.add_agent(a, IceAgent(IceOptions(controlling=True), rng=sim.rng))       # an AgentNode
    right = sim.add_agent(b, IceAgent(IceOptions(controlling=False), rng=sim.rng))
    left.gather()                                # or left.agent.gather(addresses, servers, sim.now)
    right.gather()
    sim.signal(left, right, delay=0.05)          # credentials and candidates, both ways
    sim.run_until(lambda: left.agent.state == "connected", limit=10)      # or LimitReached is raised
    left.send(1, b"hello")
    sim.run_for(1.0)
    right.data                                   # [Received(data, socket, address)]
    right.events                                 # every event, oldest first
    print(net.story())                           # every packet: sent, delivered, lost, dropped ...

Any other root machine: `node = sim.add(host, machine)`, `socket = node.bind()`, then call the machine's
methods with `now=sim.now`. A STUN server: `sim.add_stun_server(host, port=3478)`.

Faults: `a.set_link(loss=0.3, burst=4, jitter=0.01, rate=1e6)` and more (see `Link`), `a.uplink.up = False`
(one direction), `a.outage(start_in=5, seconds=3)`, `net.drop(lambda packet: ...)` and
`net.drop_between([a], [b])` (all three give a function that ends it), `a.interface_down(...)` and
`a.interface_up(..., cost=50)` (`left.watch_network()` lets the agent be told), `add_host(..., icmp=True)`
(closed ports are reported), `node.refuse_socket`, `node.socket_delay`, `node.stall(seconds)` (a runtime
that hangs), `net.dns.fail(name, reason)`, `net.dns.silence(name)`; and `sim.call_at(5.0, callback)` to do
any of it later.

TCP: agents that ask for listeners and connections get them (`fasticePy.sim.tcp`); by hand:
`node.host.listen(address, port, node)`, `node.host.connect(base, peer, node)`, `net.sent(transport="tcp")`.
Names that end in `.local` are asked for on the segment, unless `net.dns` knows them.

A NAT is a `Box` between a segment of its own and the backbone: see `fasticePy.sim.network`.
"""

from __future__ import annotations

from fasticePy.sim.agents import AgentNode, Signalling
from fasticePy.sim.clock import VirtualClock
from fasticePy.sim.dns import Dns, DnsAnswer
from fasticePy.sim.driver import Node, Received
from fasticePy.sim.errors import BindError, LimitReached, SimulationError
from fasticePy.sim.link import Link
from fasticePy.sim.network import Box, Host, Segment, Station, VirtualNetwork
from fasticePy.sim.packet import LogEntry, Packet
from fasticePy.sim.servers import StunServerNode
from fasticePy.sim.simulation import Simulation
from fasticePy.sim.tcp import TcpReceiver

__all__ = [
    "AgentNode",
    "BindError",
    "Box",
    "Dns",
    "DnsAnswer",
    "Host",
    "LimitReached",
    "Link",
    "LogEntry",
    "Node",
    "Packet",
    "Received",
    "Segment",
    "Signalling",
    "Simulation",
    "SimulationError",
    "Station",
    "StunServerNode",
    "TcpReceiver",
    "VirtualClock",
    "VirtualNetwork",
]
