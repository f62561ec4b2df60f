"""What is told of each address that we gather on: the address, a name, what rewrite rules put in its place, or nothing.

This is where `IceOptions.mdns`, `IceOptions.advertise` and `LocalAddress.hidden` meet.
"""

from __future__ import annotations

from collections.abc import Iterable

from fasticePy.ice.addresses import LocalAddress
from fasticePy.ice.gathering.rewrite import Advertised, Rewrite, advertised
from fasticePy.ice.gathering.sockets import Base
from fasticePy.ice.session import Session

SRFLX_RANK = 1 << 15
"""Server-reflexive candidates of rules rank behind those that servers have confirmed."""


def checked_rules(rules: Iterable[Rewrite]) -> tuple[Rewrite, ...]:
    """The rules, if they can be used as they are. Raises ValueError while they have host names."""
    rules = tuple(rules)
    if names := [name for rule in rules for name in rule.names]:
        raise ValueError(f"advertise: {', '.join(names)} not resolved")
    return rules


def prepare(session: Session, local: LocalAddress, now: float) -> None:
    """Decide how this address is shown, before anything speaks of it."""
    publish = session.options.mdns == "publish"
    concealment = session.concealment
    replaced = _replaced(session, local)
    if local.hidden or (publish and replaced):
        concealment.hide(local.host)
        return
    concealment.reveal(local.host)
    if replaced:
        concealment.withhold(local.host)
    elif publish:
        concealment.conceal(local.host, now)


def told_of(session: Session, base: Base) -> list[Advertised]:
    """The candidates that stand for a base, best first."""
    host, port = base.address
    plain = host.partition("%")[0]
    if not session.advertise:
        told = [Advertised(plain, port, "host")]
    else:
        told = advertised(session.advertise, plain, port, base.local.interface)
    if base.local.hidden:
        told = [each for each in told if (each.address, each.port) != (plain, port)]
    return told


def _replaced(session: Session, local: LocalAddress) -> bool:
    if not session.advertise:
        return False
    host = local.host.partition("%")[0]
    told = advertised(session.advertise, host, local.port or 1, local.interface)
    return all((each.address, each.type) != (host, "host") for each in told)
