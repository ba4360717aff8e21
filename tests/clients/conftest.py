"""Public clients of the Graph API, as they are, at a running simulator: only their base URL is changed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from wabajobs.simulator import Simulator, SimulatorConfig

from .wire import Wire


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """Three WABAs with two numbers and seven templates each; time is moved by hand."""
    config = SimulatorConfig(clock="hand", wabas=3, numbers=2, templates=7)
    with Simulator(config).running() as running:
        yield running
        assert running.judge.defects == 0


@pytest.fixture
def waba(simulator: Simulator) -> str:
    return simulator.world.waba_ids[0]


@pytest.fixture
def number(simulator: Simulator, waba: str) -> str:
    """A registered number of that WABA."""
    return simulator.world.waba(waba).numbers[0].id


@pytest.fixture
def wire(simulator: Simulator) -> Wire:
    return Wire(simulator)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A white PNG of 640 × 640 pixels."""
    size = 640

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", size, size, 1, 0, 0, 0, 0)
    rows = (b"\0" + b"\xff" * (size // 8)) * size
    path = tmp_path / "picture.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path
