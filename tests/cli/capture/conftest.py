"""The recorded messages, for tests of captures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def vectors() -> dict[str, dict[str, Any]]:
    """tests/vectors/test_vectors.json by id."""
    entries = json.loads((TESTS / "vectors/test_vectors.json").read_text(encoding="utf-8"))
    return {entry["id"]: entry for entry in entries}
