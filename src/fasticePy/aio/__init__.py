"""The asyncio runtime: sockets, interfaces, names and time for the machines of `fasticePy.ice`."""

from __future__ import annotations

from fasticePy.aio.agent import Agent
from fasticePy.aio.credentials import Credential, CredentialError, CredentialSource
from fasticePy.aio.dns import DnsError, DnsResolver, RecordResolver
from fasticePy.aio.endpoint import Endpoint, EndpointHandler, UdpEndpoint
from fasticePy.aio.endpoint_transport import TransportEndpoint
from fasticePy.aio.host import host_addresses
from fasticePy.aio.interfaces import AddressPolicy, Decision, InterfaceAddress, Selection, select
from fasticePy.aio.resolver import Lookup, LookupHandler, Resolver, SystemResolver
from fasticePy.aio.servers import IceServer
from fasticePy.aio.stream import Stream
from fasticePy.aio.udp_socket import open_udp_socket
from fasticePy.aio.watch import NetworkWatcher, Subscription
from fasticePy.ice import StateEntry

__all__ = [
    "AddressPolicy",
    "Agent",
    "Credential",
    "CredentialError",
    "CredentialSource",
    "Decision",
    "DnsError",
    "DnsResolver",
    "Endpoint",
    "EndpointHandler",
    "IceServer",
    "InterfaceAddress",
    "Lookup",
    "LookupHandler",
    "NetworkWatcher",
    "RecordResolver",
    "Resolver",
    "Selection",
    "StateEntry",
    "Stream",
    "Subscription",
    "SystemResolver",
    "TransportEndpoint",
    "UdpEndpoint",
    "host_addresses",
    "open_udp_socket",
    "select",
]
