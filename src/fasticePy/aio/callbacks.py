"""Attributes that hold an application's callback: a plain function or None."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec, Protocol, overload

P = ParamSpec("P")


class HasCallbacks:
    """The base of classes whose attributes that begin with `on_` are callbacks. One that does not exist is a mistake in
    writing, which would otherwise show as a callback that is never called."""

    _callbacks: dict[str, Callable[..., Any] | None] | None = None
    """Those that were set; most objects have few or none."""

    def __setattr__(self, name: str, value: object) -> None:
        if name.startswith("on_") and not hasattr(type(self), name):
            known = ", ".join(each for each in dir(type(self)) if each.startswith("on_"))
            raise AttributeError(f"{type(self).__name__} has no {name}: its callbacks are {known}")
        super().__setattr__(name, value)


class Callback(Generic[P]):
    """A descriptor for such an attribute. A coroutine function is refused: nobody would await what it
    returns."""

    __slots__ = ("_name",)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Callback[P]: ...
    @overload
    def __get__(self, instance: HasCallbacks, owner: type) -> Callable[P, object] | None: ...
    def __get__(self, instance: HasCallbacks | None, owner: type) -> Callback[P] | Callable[P, object] | None:
        if instance is None:
            return self
        callbacks = instance._callbacks
        return None if callbacks is None else callbacks.get(self._name)

    def __set__(self, instance: HasCallbacks, callback: Callable[P, object] | None) -> None:
        check_callback(self._name, callback)
        if instance._callbacks is None:
            instance._callbacks = {}
        instance._callbacks[self._name] = callback


class WithStreams(Protocol):
    """Who has streams, one at least."""

    @property
    def streams(self) -> Sequence[object]:
        """The streams."""
        ...


class FirstStreamCallback(Generic[P]):
    """A descriptor for a callback of the same name that the first of the instance's `streams` keeps."""

    __slots__ = ("_name",)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> FirstStreamCallback[P]: ...
    @overload
    def __get__(self, instance: WithStreams, owner: type) -> Callable[P, object] | None: ...
    def __get__(
        self, instance: WithStreams | None, owner: type
    ) -> FirstStreamCallback[P] | Callable[P, object] | None:
        if instance is None:
            return self
        callback: Callable[P, object] | None = getattr(instance.streams[0], self._name)
        return callback

    def __set__(self, instance: WithStreams, callback: Callable[P, object] | None) -> None:
        setattr(instance.streams[0], self._name, callback)


def check_callback(name: str, callback: Callable[..., Any] | None) -> None:
    """Raise TypeError for what cannot be a callback."""
    if callback is None:
        return
    if not callable(callback):
        raise TypeError(f"{name} takes a function or None")
    if inspect.iscoroutinefunction(callback):
        raise TypeError(
            f"{name} takes a plain function: start a task in it when it has to wait for something"
        )
