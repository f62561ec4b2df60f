"""Address rewriting: what to signal in place of a local address, or beside it, where a NAT maps it one to one.

Clouds, containers and port forwarders give a host a public address that it does not see itself. A list of `Rewrite`
rules says which, and `advertised` what a local address becomes.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal, TypeAlias, cast

from fasticePy.errors import ParseError
from fasticePy.ice.addresses import normalize, parse_ip, refusal

RewriteMode: TypeAlias = Literal["replace", "append"]
RewriteType: TypeAlias = Literal["host", "srflx"]

MAX_ADDRESSES = 16
"""Addresses and names that one rule advertises at most: each becomes a candidate of each local address."""
MAX_TEXT = 4096
"""Longest text of a rule that `Rewrite.parse` reads."""

_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_MAX_NAME = 253  # RFC 1035 2.3.4, in text form
_SHOWN = 60  # characters of a rule in an error
_TYPES: tuple[RewriteType, ...] = ("host", "srflx")
_KEYS = ("interface", "family", "mode", "as", "port")


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One rule: local addresses that it covers, and what is signalled for them.

    - `local`: an address, a network (`10.0.0.0/8`), or None for every address.
    - `to`: one or several addresses, in order. Each is used for local addresses of its own family, and a rule
      with none of a family does not cover that family. Host names are allowed; whoever runs the agent looks
      them up (`names`) and puts in what comes of it (`resolved`).
    - `interface`: a pattern (`eth*`) for the name of the interface.
    - `family`: 4 or 6, when the rule is for that family only.
    - `mode`: "replace" signals the addresses of `to` only, "append" the local address as well.
    - `as_type`: the type of the candidates. "srflx" puts them behind host candidates in the order of preference.
    - `ports`: advertised ports by local port. A port that is not in it stays what it is.

    Raises ValueError for what cannot be.
    """

    local: str | None = None
    _: KW_ONLY
    to: str | Sequence[str]
    interface: str | None = None
    family: Literal[4, 6] | None = None
    mode: RewriteMode = "replace"
    as_type: RewriteType = "host"
    ports: Mapping[int, int] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.mode not in ("replace", "append"):
            raise ValueError(f"rewrite: mode is replace or append, not {self.mode!r}")
        if self.as_type not in _TYPES:
            raise ValueError(f"rewrite: as_type is host or srflx, not {self.as_type!r}")
        if self.family not in (None, 4, 6):
            raise ValueError(f"rewrite: family is 4 or 6, not {self.family!r}")
        if self.interface is not None and not self.interface:
            raise ValueError(
                "rewrite: an empty interface name covers nothing; leave it out for every interface"
            )
        object.__setattr__(self, "local", _local(self.local))
        object.__setattr__(self, "to", _targets(self.to))
        object.__setattr__(self, "ports", _checked_ports(self.ports))
        self._check_families()

    def _check_families(self) -> None:
        local = None if self.local is None else _network(self.local).version
        if local is not None and self.family not in (None, local):
            raise ValueError(f"rewrite: {self.local} is IPv{local}, and family={self.family}")
        family = local or self.family
        for target in self.to:
            version = _version(target)
            if family is not None and version not in (None, family):
                covered = f"family={family}" if self.local is None else self.local
                raise ValueError(f"rewrite: {covered} cannot become {target}, which is IPv{version}")

    @property
    def names(self) -> tuple[str, ...]:
        """The host names in `to`, which have to be resolved before the rule is used."""
        return tuple(target for target in self.to if _version(target) is None)

    def resolved(self, addresses: Mapping[str, Iterable[str]]) -> Rewrite | None:
        """The rule with numeric addresses in place of names. Those that no candidate could have, and those of a
        family that the rule is not for, are left out. None when nothing is left to advertise.

        Raises ValueError when a name has no entry in `addresses`; an empty entry is fine.
        """
        missing = [name for name in self.names if name not in addresses]
        if missing:
            raise ValueError(f"rewrite: {', '.join(missing)} not resolved")
        family = self.family if self.local is None else _network(self.local).version
        found: dict[str, None] = {}
        for target in self.to:
            known = _version(target) is not None
            for address in (target,) if known else addresses[target]:
                if _usable(address) and family in (None, _version(address)):
                    found[normalize((address, 0))[0]] = None
        return replace(self, to=tuple(found)[:MAX_ADDRESSES]) if found else None

    def covers(self, address: str, interface: str = "") -> bool:
        """Whether the rule says something about this local address. Raises ValueError while it has names."""
        if self.names:
            raise ValueError(f"rewrite: {', '.join(self.names)} not resolved")
        ip = parse_ip(address)
        if ip is None or self.family not in (None, ip.version):
            return False
        if self.interface is not None and not fnmatch.fnmatchcase(interface, self.interface):
            return False
        if self.local is not None and ip not in _network(self.local):
            return False
        return bool(self.targets(ip.version))

    def targets(self, family: int) -> tuple[str, ...]:
        """The numeric addresses of `to` in one family."""
        return tuple(target for target in self.to if _version(target) == family)

    def __str__(self) -> str:
        """The text that `parse` reads."""
        parts = [f"{self.local or '*'}={self.to[0]}", *self.to[1:]]
        if self.interface is not None:
            parts.append(f"interface={self.interface}")
        if self.family is not None:
            parts.append(f"family={self.family}")
        if self.mode != "replace":
            parts.append(f"mode={self.mode}")
        if self.as_type != "host":
            parts.append(f"as={self.as_type}")
        parts += [f"port={local}:{port}" for local, port in self.ports.items()]
        return ",".join(parts)

    @classmethod
    def parse(cls, text: str) -> Rewrite:
        """Read a rule from text: `[LOCAL=]TO[,TO...][,KEY=VALUE...]`.

        LOCAL is an address, a network, or `*`; the keys are `interface`, `family`, `mode`, `as`, and `port`
        with `LOCAL:ADVERTISED`, once for each port: `10.0.0.0/8=203.0.113.7,mode=append,port=8443:8448`.
        Raises ParseError that says what was wrong.
        """
        if len(text) > MAX_TEXT:
            raise ParseError(f"rewrite rule: {len(text)} characters, the limit is {MAX_TEXT}")
        try:
            return _parse(text)
        except ValueError as error:
            shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
            raise ParseError(f"rewrite rule {shown!a}: {str(error).removeprefix('rewrite: ')}") from None


@dataclass(frozen=True, slots=True)
class Advertised:
    """What is signalled for a local address."""

    address: str
    port: int
    type: RewriteType


def advertised(
    rules: Iterable[Rewrite], base_address: str, port: int, interface: str = ""
) -> list[Advertised]:
    """What to signal for a socket at `base_address` and `port` on `interface`, best first, no transport address twice.

    Of the rules for "host" and of those for "srflx" the first that covers the address decides. The local address
    itself is left out when one of the deciding rules has the mode "replace". Raises ValueError for rules with names
    that are not resolved.
    """
    deciding: dict[RewriteType, Rewrite] = {}
    for rule in rules:
        if rule.covers(base_address, interface):
            deciding.setdefault(rule.as_type, rule)
    base = normalize((base_address, port))
    found: dict[tuple[str, int], RewriteType] = {}
    if all(rule.mode == "append" for rule in deciding.values()):
        found[base] = "host"
    for as_type in _TYPES:
        if as_type in deciding:
            rule = deciding[as_type]
            for address in rule.targets(6 if ":" in base_address else 4):
                found.setdefault((address, rule.ports.get(port, port)), as_type)
    return [Advertised(address, port, as_type) for (address, port), as_type in found.items()]


# -- checking ------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text, strict=False)


def _version(target: str) -> int | None:
    """4, 6, or None for a name."""
    ip = parse_ip(target)
    return None if ip is None else ip.version


def _local(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        network = _network(text)
    except ValueError:
        raise ValueError(f"rewrite: {text!r} is neither an IP address nor a network") from None
    return str(network) if "/" in text else str(network.network_address)


def _targets(to: str | Sequence[str]) -> tuple[str, ...]:
    targets = tuple(dict.fromkeys(_target(text) for text in ((to,) if isinstance(to, str) else to)))
    if not targets:
        raise ValueError("rewrite: there is no address to advertise")
    if len(targets) > MAX_ADDRESSES:
        raise ValueError(f"rewrite: {len(targets)} addresses, the limit is {MAX_ADDRESSES}")
    return targets


def _target(text: str) -> str:
    """An address in canonical form, or a host name in lower case."""
    if parse_ip(text) is not None:
        if not _usable(text):
            raise ValueError(f"rewrite: {text} cannot be advertised: {refusal(text) or 'it has a scope'}")
        return normalize((text, 0))[0]
    labels = text.removesuffix(".").split(".")
    # what ends in a number can only be meant as an IPv4 address
    if len(text) > _MAX_NAME or labels[-1].isdigit() or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"rewrite: {text!r} is neither an IP address nor a host name")
    return text.lower()


def _usable(address: str) -> bool:
    return "%" not in address and refusal(address) is None


def _checked_ports(ports: Mapping[int, int]) -> dict[int, int]:
    for port in (*ports, *ports.values()):
        if not 1 <= port <= 65535:
            raise ValueError(f"rewrite: port {port!r} is not a number from 1 to 65535")
    return dict(sorted(ports.items()))


# -- reading -------------------------------------------------------------------------------------------------


def _parse(text: str) -> Rewrite:
    first, *rest = (part.strip() for part in text.split(","))
    local, _, target = (part.strip() for part in first.rpartition("="))
    targets, ports = [target], dict[int, int]()
    options: dict[str, Any] = {}
    for part in rest:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            targets.append(part)
        elif key not in _KEYS:
            raise ValueError(f"{key!r} is none of {', '.join(_KEYS)}")
        elif key == "port":
            local_port, port = _port_pair(value)
            if ports.setdefault(local_port, port) != port:
                raise ValueError(f"port {local_port} is mapped twice")
        elif key in options:
            raise ValueError(f"{key} is given twice")
        else:
            options[key] = value
    return Rewrite(
        None if local in ("", "*") else local,
        to=targets,
        interface=options.get("interface"),
        family=_family(options.get("family")),
        mode=cast(RewriteMode, options.get("mode", "replace")),  # whatever it is, the rule judges it
        as_type=cast(RewriteType, options.get("as", "host")),
        ports=ports,
    )


def _family(text: str | None) -> Literal[4, 6] | None:
    families: dict[str | None, Literal[4, 6] | None] = {None: None, "4": 4, "6": 6}
    if text not in families:
        raise ValueError(f"family is 4 or 6, not {text!r}")
    return families[text]


def _port_pair(text: str) -> tuple[int, int]:
    local, _, port = text.partition(":")
    if not all(number.isascii() and number.isdigit() and len(number) <= 5 for number in (local, port)):
        raise ValueError(f"port={text}: write port=LOCAL:ADVERTISED")
    return int(local), int(port)
