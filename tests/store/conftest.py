"""An empty data directory for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from oxillama.store import Store
from tests.builders import open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path)
