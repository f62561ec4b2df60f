"""`IceServer`: a STUN or TURN server in the shape of W3C's RTCIceServer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from fasticePy.stun.uri import ServerUrl, parse_server_url


@dataclass(frozen=True, slots=True)
class IceServer:
    """One server with one or more URLs (`stun:`, `stuns:`, `turn:`, `turns:`), and what TURN asks for.

    Raises ParseError for a URL that is none, and ValueError for TURN without `username` and `credential`.
    """

    urls: str | Sequence[str]
    username: str | None = None
    credential: str | None = field(default=None, repr=False)
    parsed: tuple[ServerUrl, ...] = field(init=False, repr=False, compare=False)
    """The URLs taken apart."""

    def __post_init__(self) -> None:
        urls = (self.urls,) if isinstance(self.urls, str) else tuple(self.urls)
        if not urls:
            raise ValueError("an ICE server needs at least one URL")
        parsed = tuple(parse_server_url(url) for url in urls)
        if any(url.relay for url in parsed) and (self.username is None or self.credential is None):
            raise ValueError(f"{urls[0]}: a TURN server needs username and credential")
        object.__setattr__(self, "urls", urls)
        object.__setattr__(self, "parsed", parsed)


ServerLike: TypeAlias = str | IceServer | Mapping[str, object]
"""A URL, an `IceServer`, or an RTCIceServer as JSON has it: `{"urls": ..., "username": ..., "credential":
...}`."""


def as_servers(servers: ServerLike | Iterable[ServerLike]) -> tuple[IceServer, ...]:
    """One or several servers of any accepted shape. Raises what `IceServer` raises, and TypeError for other
    things."""
    if isinstance(servers, str | IceServer | Mapping):
        return (_as_server(servers),)
    return tuple(_as_server(server) for server in servers)


def _as_server(server: object) -> IceServer:
    if isinstance(server, IceServer):
        return server
    if isinstance(server, str):
        return IceServer(server)
    if not isinstance(server, Mapping):
        raise TypeError(
            f"a server is a URL, an IceServer or a mapping with urls, not {type(server).__name__}"
        )
    urls = server.get("urls", server.get("url"))  # `url` is what old applications still send
    if isinstance(urls, Sequence) and not isinstance(urls, str):
        urls = [_text("urls", url) for url in urls]
    else:
        urls = _text("urls", urls)
    return IceServer(urls, _optional_text("username", server), _optional_text("credential", server))


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} of an ICE server must be text")
    return value


def _optional_text(name: str, server: Mapping[str, object]) -> str | None:
    value = server.get(name)
    return None if value is None else _text(name, value)
