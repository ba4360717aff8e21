"""What happens off the wire: Meta's reviewers take their time, and a customer's telephone gets codes."""

from __future__ import annotations

import requests

from wabajobs.simulator import Simulator

REVIEW = 24 * 3600
"""Simulated seconds after which every review has ended."""


def sms_code(simulator: Simulator, number: str) -> str:
    """The code in the last message to the number."""
    answer = requests.get(f"{simulator.url}/_simulator/sms", params={"number": number}, timeout=20)
    code: str = answer.json()["messages"][-1]["code"]
    return code
