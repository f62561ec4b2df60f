"""What the STUN tests share: the plain codec that ours is compared with, and the recorded messages."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def oracle() -> ModuleType:
    """tests/oracle/codec.py: an independent codec."""
    spec = importlib.util.spec_from_file_location("fasticepy_oracle_codec", TESTS / "oracle/codec.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def vectors() -> dict[str, dict[str, Any]]:
    """tests/vectors/test_vectors.json by id."""
    entries = json.loads((TESTS / "vectors/test_vectors.json").read_text(encoding="utf-8"))
    return {entry["id"]: entry for entry in entries}
