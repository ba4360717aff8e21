"""Hints between processes, in Redis: a bell that wakes the dispatcher, which workers are alive, which are dead.

Nothing here is the truth. A lost ring costs a poll interval; a lost presence is announced again in a second.
"""

from wabajobs.signals.bell import Bell, Ringer
from wabajobs.signals.lifeline import Lifeline, Lifelines
from wabajobs.signals.presence import Presence, Worker
from wabajobs.signals.told import Told

__all__ = ["Bell", "Lifeline", "Lifelines", "Presence", "Ringer", "Told", "Worker"]
