"""The gate: leave for each Graph call, from one atomic look at all pauses, breakers and budgets."""

from wabajobs.gate.calls import (
    AppReading,
    Because,
    BreakerReading,
    Call,
    Change,
    Outcome,
    Permit,
    Quota,
    Report,
    Spender,
    SpentBy,
    SpentPart,
    Wait,
    WindowReading,
)
from wabajobs.gate.gate import AppLimits, Gate
from wabajobs.gate.retry_budget import RetryBudget

__all__ = [
    "AppLimits",
    "AppReading",
    "Because",
    "BreakerReading",
    "Call",
    "Change",
    "Gate",
    "Outcome",
    "Permit",
    "Quota",
    "Report",
    "RetryBudget",
    "Spender",
    "SpentBy",
    "SpentPart",
    "Wait",
    "WindowReading",
]
