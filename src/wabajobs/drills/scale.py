"""An hour made short, for the product: every duration that stands for something at Meta, divided by the speed.

What stands for something of this machine - how long a process may need to renew its lease, how late a call may
arrive - stays as it is, or shrinks no further than a busy machine allows.
"""

from typing import Any, Final

PROBES_AT_FIRST: Final = 20 / 60
PROBES_AT_MOST: Final = 40 / 60
"""Hours between two probes: at first, and at most. The product's own are 30 s and two minutes; in a drill an hour
has some hundreds of calls and not some hundred thousand, and the share of probes among them is to stay small."""


Probes = tuple[float, float]
PROBES: Final[Probes] = (PROBES_AT_FIRST, PROBES_AT_MOST)


def settings(hour: float, probes: Probes = PROBES) -> dict[str, Any]:
    """Return the tables of the product's settings for an hour that lasts `hour` seconds.

    `probes` are the hours between two probes, at first and at most.
    """
    scale = hour / 3600
    return {
        "gate": {
            "window_seconds": hour,
            "spread_seconds": min(0.3, hour / 12),
            # It covers a write of the ledger, which a busy machine makes wait: that does not shrink with an hour.
            "start_within_seconds": 1.0,
            "registration_window_seconds": 72 * hour,
            "pacing_burst_seconds": max(0.02, 2 * scale),
            "ask_again_seconds": 0.05,
            "breaker_seconds": probes[0] * hour,
            "breaker_cap_seconds": probes[1] * hour,
            "failure_window_seconds": hour / 3,
            "failure_calls": 10,
            "header_stale_seconds": max(0.1, 30 * scale),
        },
        "graph": {"in_flight_seconds": max(1.0, 40 * scale)},
        "dispatch": {
            "poll_seconds": 0.25,
            "short_wait_seconds": 0.5,
            "retry_seconds": 0.1,
            "retry_cap_seconds": max(1.0, 600 * scale),
        },
        "watch": {
            "look_seconds": hour / 8,
            "sample_seconds": hour / 4,
            "quiet_seconds": 2 * hour,
            # Of a few hundred calls an hour, each is much: whether they fill the budget shows only near its end.
            "exhausted_within_seconds": hour / 4,
            "exhausted_from": 0.9,
            "slope_seconds": hour / 2,
            "interactive_age_seconds": 2 * hour,
            "standard_age_seconds": 4 * hour,
            "background_age_seconds": 24 * hour,
        },
        "ramp": {"step_seconds": hour / 4},
        "template_sync": {"page_size": PAGE, "take_up_within_seconds": 24 * hour},
        "onboarding": {"code_seconds": 30 * 86_400.0},
        "planner": {"enabled": False},
    }


PAGE: Final = 12
"""Templates of a page: a sync takes some nine calls."""
