"""The network as one agent sees it: which addresses of this host it uses now, which of them others may learn, and word
of changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fasticePy.aio.host import host_addresses
from fasticePy.aio.interfaces import AddressPolicy, Selection, select
from fasticePy.aio.watch import NetworkWatcher, Subscription
from fasticePy.ice import Candidate
from fasticePy.ice.addresses import LocalAddress

CandidateHook = Callable[[Candidate], Candidate | None]
"""Sees a local candidate before the peer does: gives it back, a changed one, or None to leave it out."""


class Network:
    """Addresses by a policy. `hook` is the application's, and comes after the policy's exposure."""

    __slots__ = ("_complain", "_hook", "_policy", "_subscription", "_watcher", "selection")

    def __init__(
        self, policy: AddressPolicy, hook: CandidateHook | None, complain: Callable[[Exception], None]
    ) -> None:
        self._policy = policy
        self._hook = hook
        self._complain = complain
        self._watcher: NetworkWatcher | None = None
        self._subscription: Subscription | None = None
        self.selection = _NOTHING
        """What came of the latest reading."""

    def read(self) -> list[LocalAddress]:
        """The addresses to use now, best first. Raises OSError when they cannot be read, and what the policy's
        callables raise."""
        found = host_addresses() if self._watcher is None else self._watcher.addresses()
        self.selection = _shared(select(found, self._policy))
        hidden = self.selection.hidden
        return [
            LocalAddress(
                entry.address, interface=entry.interface, cost=entry.cost, hidden=entry.address in hidden
            )
            for entry in self.selection.used
        ]

    @property
    def families(self) -> frozenset[int]:
        """The address families of the addresses in use: 4, 6."""
        return _FAMILIES[frozenset(entry.version for entry in self.selection.used)]

    def watch(self, changed: Callable[[], object]) -> None:
        """Call `changed()` at each change from now on, until `close`. Belongs to the running event loop."""
        if self._watcher is None:
            self._watcher = NetworkWatcher.shared()
            self._subscription = self._watcher.subscribe(lambda reason: changed())

    def close(self) -> None:
        """Watch no more. Idempotent."""
        if self._subscription is not None:
            self._subscription.cancel()
        self._watcher = self._subscription = None

    @property
    def discloses_all(self) -> bool:
        """Whether candidates are told as they are found."""
        return self._hook is None and self._policy.exposure != "relay"

    def disclose(self, candidate: Candidate) -> Candidate | None:
        """The candidate as the peer may learn it, or None. What the application's hook raises goes to the event loop's
        handler, and the candidate is left out."""
        related = candidate.related_address
        if self._policy.exposure == "relay" and related is not None:
            # RFC 8828 5.2 mode 4: not the NAT's address either; RFC 8839 5.1 has this for what is not told
            candidate = replace(
                candidate, related_address="::" if ":" in related else "0.0.0.0", related_port=9
            )
        if self._hook is None:
            return candidate
        try:
            changed = self._hook(candidate)
            if changed is not None and not isinstance(changed, Candidate):
                raise TypeError(f"local_candidate gives a Candidate or None, not {type(changed).__name__}")
        except Exception as error:  # noqa: BLE001 - an application's mistake must not stop the agent
            self._complain(error)
            return None
        return changed


_NOTHING = Selection((), ())
_FAMILIES = {each: each for each in map(frozenset[int], ((), (4,), (6,), (4, 6)))}  # one object each for all
_latest = _NOTHING


def _shared(selection: Selection) -> Selection:
    """The same as one object for all agents of the process that come to the same: a server has thousands of them."""
    global _latest  # noqa: PLW0603 - that is what sharing means
    if selection != _latest:
        _latest = selection
    return _latest
