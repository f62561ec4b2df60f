"""`IceServer`: a STUN or TURN server in the shape of W3C's RTCIceServer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, cast

from fasticePy.stun.uri import ServerUrl, parse_server_url

if TYPE_CHECKING:
    from fasticePy.aio.credentials import Credential

CredentialSupply: TypeAlias = "Callable[[IceServer], Credential | str | Awaitable[Credential | str]]"
"""A function that gives the credential of a server: a `Credential`, or a password for the server's `username`."""


@dataclass(frozen=True, slots=True)
class IceServer:
    """One server with one or more URLs (`stun:`, `stuns:`, `turn:`, `turns:`), and what TURN asks for.

    `credential` is a password, or a function, plain or async, that is called with this object when a credential is
    needed, and again before it expires: an expiry given in the `fasticePy.aio.Credential` that it returns, or one in a
    user name of the form `<Unix time>:<name>`. A plain function runs in the event loop and must not block it.

    Raises ParseError for a URL that is none, ValueError for TURN without `credential`, or without `username` beside a
    password, and TypeError for a credential of another kind.
    """

    urls: str | Sequence[str]
    username: str | None = None
    credential: str | CredentialSupply | None = field(default=None, repr=False)
    parsed: tuple[ServerUrl, ...] = field(init=False, repr=False, compare=False)
    """The URLs taken apart."""

    def __post_init__(self) -> None:
        urls = (self.urls,) if isinstance(self.urls, str) else tuple(self.urls)
        if not urls:
            raise ValueError("an ICE server needs at least one URL")
        parsed = tuple(parse_server_url(url) for url in urls)
        if not (self.credential is None or isinstance(self.credential, str) or callable(self.credential)):
            raise TypeError(f"{urls[0]}: credential is a password or a function that gives one")
        known = callable(self.credential) or None not in (self.username, self.credential)
        if any(url.relay for url in parsed) and not known:
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
    credential = server.get("credential")
    if callable(credential):
        supply = cast("CredentialSupply", credential)
        return IceServer(urls, _optional_text("username", server), supply)
    return IceServer(urls, _optional_text("username", server), _optional_text("credential", server))


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} of an ICE server must be text")
    return value


def _optional_text(name: str, server: Mapping[str, object]) -> str | None:
    value = server.get(name)
    return None if value is None else _text(name, value)
