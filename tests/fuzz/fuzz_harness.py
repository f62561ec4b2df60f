"""What the targets of fuzzing share."""

from __future__ import annotations

import importlib.util
from array import array
from pathlib import Path
from types import ModuleType

from fasticePy.stun import IntegrityKey

PASSWORD = "VOkJxbRl1RmTxUk/WvJxBt"
SECRET = PASSWORD.encode()
KEY = IntegrityKey.from_bytes(SECRET)
COOKIE = bytes.fromhex("2112a442")
ID = bytes(range(12))


def _oracle() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "oracle/codec.py"
    spec = importlib.util.spec_from_file_location("fasticepy_fuzz_oracle", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


oracle = _oracle()


def exact(data: bytes) -> array[int]:
    """The same bytes in memory that ends with them, unlike that of `bytes`: a sanitizer sees one byte too many read."""
    return array("B", data)[:]  # a copy of it has no room to grow


class Reader:
    """Takes numbers and pieces from the front of the input; zeros and nothing when it has ended."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def __bool__(self) -> bool:
        return self.at < len(self.data)

    def number(self) -> int:
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def piece(self) -> bytes:
        """A piece whose length stands before it in one byte, in units of 4 above 127."""
        size = self.number()
        size = size if size < 128 else (size - 96) * 4
        found = self.data[self.at : self.at + size]
        self.at += size
        return found
