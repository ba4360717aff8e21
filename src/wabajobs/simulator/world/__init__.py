"""What exists at Meta, from a seed, and the rules by which it changes; nothing here knows of HTTP."""

from wabajobs.simulator.world.nodes import (
    Allocation,
    App,
    Business,
    Credit,
    Flow,
    Intent,
    Node,
    Number,
    Signup,
    SystemUser,
    Token,
    Upload,
    Waba,
)
from wabajobs.simulator.world.templates import Template
from wabajobs.simulator.world.world import WORLD_EPOCH, World

__all__ = [
    "WORLD_EPOCH",
    "Allocation",
    "App",
    "Business",
    "Credit",
    "Flow",
    "Intent",
    "Node",
    "Number",
    "Signup",
    "SystemUser",
    "Template",
    "Token",
    "Upload",
    "Waba",
    "World",
]
