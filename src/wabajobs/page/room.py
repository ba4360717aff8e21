"""What the handlers share: the house, the one look for everybody, and threads for what blocks."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TypeVar

from wabajobs.errors import NotReady, WabajobsError
from wabajobs.page import looking
from wabajobs.page.snapshot import Snapshot
from wabajobs.wiring import House

T = TypeVar("T")

_QUESTION_SECONDS = 10.0
_DECISION_SECONDS = 45.0
"""A writer of SQLite waits up to 30 seconds for its turn."""


class Room:
    """One for each Flower. Nothing is opened before somebody looks.

    Looking, asking and deciding have threads of their own: who wants to pause something is not to wait behind
    looks that hang.
    """

    def __init__(self, house: House) -> None:
        """Look into this house."""
        self.house = house
        self._asking = ThreadPoolExecutor(8, thread_name_prefix="asking")
        self._deciding = ThreadPoolExecutor(4, thread_name_prefix="deciding")

    @cached_property
    def snapshot(self) -> Snapshot:
        """What is shown to everybody."""
        parts = looking.parts(self.house)
        return Snapshot(parts, ThreadPoolExecutor(len(parts), thread_name_prefix="looking"), self.house.clock)

    @cached_property
    def modes(self) -> str:
        """Which modes of a pause each kind bears, as JSON; none where a kind cannot be loaded."""
        try:
            kinds = self.house.kinds
        except WabajobsError:
            return "{}"
        return json.dumps({name: [str(mode) for mode in kinds[name].pause_modes] for name in kinds.names})

    async def ask(self, question: Callable[[], T]) -> T:
        """Answer a question off the event loop. Raises `NotReady` when that takes too long."""
        return await self._run(self._asking, question, _QUESTION_SECONDS)

    async def decide(self, decision: Callable[[], T]) -> T:
        """Carry out a decision off the event loop; the next look is a new one."""
        try:
            return await self._run(self._deciding, decision, _DECISION_SECONDS)
        finally:
            self.snapshot.hurry()

    @staticmethod
    async def _run(pool: ThreadPoolExecutor, what: Callable[[], T], seconds: float) -> T:
        work = asyncio.get_running_loop().run_in_executor(pool, what)
        try:
            return await asyncio.wait_for(asyncio.shield(work), seconds)
        except TimeoutError:
            raise NotReady(
                f"there was no answer within {seconds:.0f} s; it may still take effect: look before you repeat it"
            ) from None
