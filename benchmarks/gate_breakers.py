"""Trials of the gate's breakers: P6 to P9 and P14. Each function is told in its docstring."""

import queue
import signal
import statistics
import threading
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.gate_stage import (
    HOUR,
    PROCESSES,
    Arena,
    Crowd,
    Finding,
    Vendor,
    in_window,
    merged,
    short,
    together,
    vendor,
)

MINUTES = 20
"""Of an outage, and of the calling before it."""
IN_FLIGHT = 0.1
"""Seconds after a trip in which calls may still arrive that had begun before."""


def p6_p7_p8(arena: Arena) -> list[Finding]:
    """An outage of twenty minutes, with an hour of a minute: probes in it, the way back, and what comes later.

    Eight processes saturate the limit before, during and after. P6: calls that arrive after the trip, per
    minute, and the most of them at once by the callers' own times. P7: from the vendor's recovery to the first
    success, and to nine tenths of the rate of before. P8: trips within two hours after the recovery. Cases:
    code 4 on every call with usage headers; the same without any; 5xx on every call; and a WABA's limit whose
    end the header names. Anchor: pybreaker with its state in Redis.
    """
    hour = arena.pick(40, 12)
    findings = _found(*_outage(arena, hour, "code 4, headers", {"code": 4}, {}, arena.pick(2.0, 0.2)))
    if not arena.quick:
        without = {"app_usage_header": False}
        findings += _found(*_outage(arena, hour, "code 4, no headers", {"code": 4}, without, 0.6))[:2]
        findings += _found(*_outage(arena, hour, "503", {"code": 2, "status": 503}, {}, 0.3))[:2]
    findings += _known_end(arena, arena.pick(20, 5))
    findings[0].anchors = _pybreaker(arena, hour)
    return findings


def _outage(
    arena: Arena, hour: float, case: str, fault: dict[str, Any], knobs: dict[str, Any], after: float
) -> tuple[float, str, dict[str, Any]]:
    minute, minutes = hour / 60, arena.pick(MINUTES, 8)
    limit = round(60 * hour)
    gate = short(hour)
    with vendor(arena.stage, hour=hour, limit=limit, latency=0.02, **knobs) as shop:
        shop.gate(gate)
        begin = together()
        down, end = begin + minutes * minute, begin + (2 * minutes + 60 * after) * minute
        arena.crowd.give([shop.task("call", begin=begin, end=end, gate=gate) for _ in range(PROCESSES)])
        time.sleep(max(0.0, down - time.monotonic()))
        shop.post("faults", **fault)
        down = time.monotonic()
        time.sleep(max(0.0, down + minutes * minute - time.monotonic()))
        up = shop.clear_faults()
        results = arena.crowd.take(PROCESSES)
        calls = shop.calls()
    calm = [call["at"] for call in calls if begin + 3 * minute < call["at"] < down]
    rate = len(calm) / (down - begin - 3 * minute)
    return hour, case, _story(results, calls, down, up, end, rate, minute)


def _story(
    results: Sequence[dict[str, Any]],
    calls: Sequence[dict[str, Any]],
    down: float,
    up: float,
    end: float,
    rate: float,
    minute: float,
) -> dict[str, Any]:
    """Tell an outage from the account of the vendor (arrivals) and of the callers (times, breakers)."""
    changes = merged(results, "changes")
    trip = min((at for at, _, state, _ in changes if state == "open" and at > down), default=float("inf"))
    probes = [call["at"] for call in calls if trip + IN_FLIGHT < call["at"] <= up]
    wire = [(began, answered) for began, answered, _ in merged(results) if trip + IN_FLIGHT < began <= up]
    well = sorted(began for began, _, code in merged(results) if not code and began > up)
    first = well[0] - up if well else float("inf")
    # A stretch of two minutes that begins here has nine tenths of the rate of before.
    full = next(
        (at - up for at in well if in_window(well, at + 2 * minute, 2 * minute) >= 0.9 * rate * 2 * minute),
        float("inf"),
    )
    after = [change for change in changes if change[0] > up]
    closed = next((at for at, _, state, _ in after if state == "closed"), float("inf"))
    return {
        "rate": rate,
        "before the trip": sum(down < call["at"] <= trip + IN_FLIGHT for call in calls),
        "probes": len(probes),
        "probes at (min)": [round((at - down) / minute, 2) for at in probes],
        "per minute": len(probes) / ((up - max(down, min(trip, up))) / minute),
        "most at once": max((sum(b <= began < a for b, a in wire) for began, _ in wire), default=0),
        "first (s of an hour)": first * 60 / minute,
        "full (s of an hour)": full * 60 / minute,
        "relapses": sum(state == "open" for at, _, state, _ in after if at > closed),
        "refused after": sum(bool(call["refused"]) for call in calls if call["at"] > up + IN_FLIGHT),
        "observed (h)": (end - up) / minute / 60,
        "changes": [[round((at - down) / minute, 2), *rest] for at, *rest in changes][:60],
    }


def _found(hour: float, case: str, story: dict[str, Any]) -> list[Finding]:
    cap = 1.1 * 120 + 0.1 * HOUR / hour
    headers = "no headers" not in case
    first, full = story["first (s of an hour)"], story["full (s of an hour)"]
    most_full = first + 60 if headers else 25 * 60
    return [
        Finding(
            property="P6",
            what=f"probes per outage minute, all processes together / most at once: {case}",
            target="<= 1.0 / 1",
            ours=f"{story['per minute']:.2f} / {story['most at once']}",
            met=story["per minute"] <= 1 and story["most at once"] <= 1,
            facts=story,
        ),
        Finding(
            property="P7",
            what=f"vendor back -> first success / 90 % of the rate, seconds of a real hour: {case}",
            target=f"<= {cap:.0f} / <= {'first + 60' if headers else '1500'}",
            ours=f"{first:.0f} / {full:.0f}",
            met=first <= cap and full <= most_full,
        ),
        Finding(
            property="P8",
            what=f"trips in the {story['observed (h)']:.1f} h after a recovery: {case}",
            target="0",
            ours=str(story["relapses"]),
            met=story["relapses"] == 0,
        ),
    ]


def _known_end(arena: Arena, hour: float) -> list[Finding]:
    """A WABA's limit is spent, and the header tells in how many minutes it will not be."""
    limit = round(100 * hour)
    gate = short(hour)
    with vendor(arena.stage, hour=hour, limit=limit, latency=0.02) as shop:
        shop.gate(gate)
        begin = together()
        waba = shop.wabas[0]
        run = 0.4 * hour
        end = begin + 1.6 * hour
        task = shop.task("call", begin=begin, end=end, gate=gate, about_waba=True)
        arena.crowd.give([task] * PROCESSES)
        time.sleep(max(0.0, begin + run - time.monotonic()))
        made = [call for call in shop.calls() if call["counted"]]
        now_allowed = len(made) // 2
        shop.post("limits", waba=waba, waba_limit=now_allowed)
        down = time.monotonic()
        time.sleep(0.5)
        counted = sorted(call["at"] for call in shop.calls() if call["counted"])
        # Below the limit again as soon as so many of the oldest have left the window.
        up = counted[len(counted) - now_allowed] + hour
        time.sleep(max(0.0, up - time.monotonic()))
        shop.post("limits", waba=waba, waba_limit=10**7)
        results = arena.crowd.take(PROCESSES)
        calls = shop.calls()
    calm = in_window(sorted(call["at"] for call in calls), down, run / 2) / (run / 2)
    story = _story(results, calls, down, up, end, calm, hour / 60)
    probes = merged(results, "probes")
    first, full = story["first (s of an hour)"], story["full (s of an hour)"]
    case = f"end known, {(up - down) * 60 / hour:.0f} min"
    return [
        Finding(
            property="P6",
            what=f"probes before the known end / in all / most at once: {case}",
            target="0 / 1 / 1",
            ours=f"{story['probes']} / {len(probes)} / {story['most at once']}",
            met=story["probes"] == 0 and len(probes) == 1,
            facts=story,
        ),
        Finding(
            property="P7",
            what=f"vendor back -> first success / 90 % of the rate, seconds of a real hour: {case}",
            # The header tells whole minutes, rounded up: up to 60 s of the first success are the vendor's.
            target="<= 30 / <= first + 60",
            ours=f"{first:.0f} / {full:.0f}",
            met=first <= 30 and full <= first + 60,
        ),
    ]


def _pybreaker(arena: Arena, hour: float) -> dict[str, str]:
    """Return what pybreaker sends in an outage: before it opens, per minute, and at once."""
    minute, minutes = hour / 60, arena.pick(10, 4)
    with vendor(arena.stage, hour=hour, limit=10**6, latency=0.02) as shop:
        arena.stage.flush()
        begin = together()
        down, end = begin + 2 * minute, begin + (2 + minutes) * minute
        reset = 30 * hour / HOUR
        task = shop.task("breaker", begin=begin, end=end, fail_max=5, reset_seconds=reset, think=0.1)
        arena.crowd.give([task] * PROCESSES)
        time.sleep(max(0.0, down - time.monotonic()))
        shop.post("faults", code=4)
        down = time.monotonic()
        results = arena.crowd.take(PROCESSES)
    calls = [(began, answered) for began, answered, code in merged(results) if code]
    fifth = sorted(answered for _, answered in calls)[4]
    later = [(began, answered) for began, answered in calls if began > fifth + IN_FLIGHT]
    most = max((sum(b <= began < a for b, a in later) for began, _ in later), default=0)
    return {"pybreaker": f"{len(later) / ((end - fifth) / minute):.1f} / {most}"}


# ── P9: after the first refusal ─────────────────────────────────────────────────────────────────────────────


def p9(arena: Arena) -> list[Finding]:
    """Calls that begin after the first refusal has reached any process; eight of them call without a pause.

    In each trial the vendor begins to refuse at some moment. Counted: calls that were asked for after the gate
    had been told, and were granted: there must be none. Told besides: calls that began after any process had got
    a refusal, and how much later. It had not told the gate yet, or their permits were out; no question to Redis
    closes that gap, as there is always a moment between its answer and the first byte that is sent. Times are
    the callers' own. Anchor: pybreaker, which opens at its first failure here.
    """
    trials, hour = arena.pick(20, 2), 60
    gate = short(hour, start_within_seconds=1.0)
    ours: list[tuple[int, int, float]] = []
    theirs: list[int] = []
    in_flight: list[int] = []
    with vendor(arena.stage, hour=hour, limit=10**6, latency=0.03) as shop:
        for _ in range(trials):
            shop.gate(gate)
            results = _struck(arena, shop, {"do": "call", "gate": gate, "class": "interactive"})
            calls = merged(results)
            told = min(at for result in results for at in result["settled"])
            heard = min(answered for _, answered, code in calls if code)
            late = [began - heard for began, *_ in calls if began > heard]
            granted = sum(asked > told for asked in merged(results, "asked"))
            ours.append((len(late), granted, max(late, default=0.0)))
            in_flight.append(sum(code != 0 for *_, code in calls))
        for _ in range(trials // 2):
            arena.stage.flush()
            results = _struck(arena, shop, {"do": "breaker", "fail_max": 1, "reset_seconds": 30})
            calls = merged(results)
            heard = min(answered for _, answered, code in calls if code)
            theirs.append(sum(began > heard for began, *_ in calls))
    strictly, granted_late = sum(one[0] for one in ours), sum(one[1] for one in ours)
    latest = max(one[2] for one in ours) * 1000
    return [
        Finding(
            property="P9",
            what=f"granted once the gate was told of a refusal / begun after any process got it ({trials} trips)",
            target="0 / (with a permit from before)",
            ours=f"{granted_late} / {strictly}" + (f" (at most {latest:.1f} ms after)" if strictly else ""),
            met=granted_late == 0,
            anchors={"pybreaker, fail_max 1": f"- / {sum(theirs)} ({len(theirs)} trips)"},
            facts={
                "per trip": ours,
                "refused per trip (on the wire)": in_flight,
                "median on the wire": statistics.median(in_flight),
                "pybreaker": theirs,
            },
        )
    ]


def _struck(arena: Arena, shop: Vendor, task: dict[str, Any]) -> list[dict[str, Any]]:
    begin = together()
    end = begin + 0.9
    do = task["do"]
    more = {key: value for key, value in task.items() if key != "do"}
    arena.crowd.give([shop.task(do, begin=begin, end=end, **more)] * PROCESSES)
    time.sleep(begin + 0.5 - time.monotonic())
    shop.post("faults", code=4)
    results = arena.crowd.take(PROCESSES)
    shop.clear_faults()
    return results


# ── P14: a lost probe ───────────────────────────────────────────────────────────────────────────────────────


def p14(arena: Arena) -> list[Finding]:
    """From a probe whose process is killed to the next probe, by another process.

    The vendor refuses once, then never answers: the probe hangs, and its process gets SIGKILL. The lease is 2 s.
    """
    lease, trials = 2.0, arena.pick(3, 1)
    gate = short(60, probe_lease_seconds=lease)
    gaps = []
    with vendor(arena.stage, hour=60, limit=10**6) as shop:
        for _ in range(trials):
            shop.gate(gate)
            crowd = Crowd(arena.stage, 4)
            try:
                gaps.append(_next_probe(shop, crowd, gate))
            finally:
                crowd.close()
                shop.clear_faults()
    return [
        Finding(
            property="P14",
            what=f"a probe's process is killed -> the next probe (lease {lease:g} s)",
            target=f"<= {lease + 1:g} s",
            ours=f"{max(gaps):.2f} s",
            met=max(gaps) <= lease + 1,
            facts={"seconds": gaps},
        )
    ]


def _next_probe(shop: Vendor, crowd: Crowd, gate: dict[str, Any]) -> float:
    begin = together()
    task = shop.task("call", begin=begin, end=begin + 20, gate=gate, announce_probes=True, think=0.02)
    crowd.give([task] * len(crowd.members))
    said: queue.Queue[tuple[int, dict[str, Any]]] = queue.Queue()

    def listen(index: int) -> None:
        try:
            while True:
                said.put((index, crowd.line(index)))
        except (RuntimeError, ValueError, OSError):
            return  # killed, as it should be

    for index in range(len(crowd.members)):
        threading.Thread(target=listen, args=(index,), daemon=True).start()
    time.sleep(begin + 0.5 - time.monotonic())
    shop.post("faults", code=4, id="refuse")
    time.sleep(0.25)
    shop.post("faults", hang=True, id="hang")
    shop.clear_fault("refuse")
    index, first = said.get(timeout=15)
    crowd.members[index].send_signal(signal.SIGKILL)
    _, second = said.get(timeout=15)
    return float(second["began"] - first["began"])
