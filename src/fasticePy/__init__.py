"""ICE, STUN and TURN for Python: two agents on different networks find a working path, and keep it.

    import fasticePy as ice

    async with ice.Agent(controlling=True, servers=["stun:stun.example.org"]) as agent: ...

`Agent` is the one most programs need. `fasticePy.stun` and `fasticePy.ice` are the protocol machines without sockets,
`fasticePy.server` the server to embed, `fasticePy.sim` a network in virtual time for tests.
"""

from __future__ import annotations

from fasticePy._version import __version__
from fasticePy.aio import (
    Agent,
    Credential,
    CredentialError,
    CredentialSource,
    IceServer,
    InterfaceAddress,
    Resolver,
    Stream,
)
from fasticePy.errors import IceError, ParseError, StateError
from fasticePy.ice import (
    Candidate,
    CandidatePair,
    Description,
    IceFailed,
    Limits,
    LocalAddress,
    Report,
    Rewrite,
    ServerFinished,
    StateEntry,
    Timeouts,
)
from fasticePy.stun.kernels import NativeFeatures, native_features
from fasticePy.stun.outcome import StunError

__all__ = [
    "Agent",
    "Candidate",
    "CandidatePair",
    "Credential",
    "CredentialError",
    "CredentialSource",
    "Description",
    "IceError",
    "IceFailed",
    "IceServer",
    "InterfaceAddress",
    "Limits",
    "LocalAddress",
    "NativeFeatures",
    "ParseError",
    "Report",
    "Resolver",
    "Rewrite",
    "ServerFinished",
    "StateEntry",
    "StateError",
    "Stream",
    "StunError",
    "Timeouts",
    "__version__",
    "native_features",
]
