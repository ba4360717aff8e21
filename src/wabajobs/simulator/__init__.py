"""A Graph API that behaves like Meta's: its limits, headers, errors and outages, from a seed.

It shares no code with what it judges.
"""

from wabajobs.simulator.clock import Clock, HandClock, RealClock
from wabajobs.simulator.config import SimulatorConfig
from wabajobs.simulator.faults import FaultRule
from wabajobs.simulator.judge import CallRecord
from wabajobs.simulator.scenario import Phase, Scenario
from wabajobs.simulator.server import PortTaken, Simulator, serve
from wabajobs.simulator.world import App, Number, Waba

__all__ = [
    "App",
    "CallRecord",
    "Clock",
    "FaultRule",
    "HandClock",
    "Number",
    "Phase",
    "PortTaken",
    "RealClock",
    "Scenario",
    "Simulator",
    "SimulatorConfig",
    "Waba",
    "serve",
]
