"""Drills: incidents that are played against the product on the real path, each with its verdict."""

from typing import Final

from wabajobs.drills.drill import Drill

DRILLS: Final = (
    Drill(name="sept-2024", shows="the incident of September 2024: plain Celery and the product, side by side"),
    Drill(name="misapplied-exception", shows="Meta says that the limit is doubled, and it is not"),
    Drill(name="flood", shows="one partner asks for everything at once; nobody else is to feel it"),
    Drill(name="weekend", shows="from Friday to Monday nothing works at Meta, and nobody is there"),
    Drill(name="redis-lost", shows="Redis loses all it knows, in the middle of an incident"),
    Drill(name="resume-49h", shows="49 hours of held template syncs are let go again"),
)
"""All there are; the first is the one that the others are cut from."""
