"""Trials of the gate's windows: P1 to P5, P13, P15, P16. Each function is one property, told in its docstring."""

import importlib
import itertools
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks import support
from benchmarks.gate_anchors import LIMITERS
from benchmarks.gate_stage import (
    PROCESSES,
    Arena,
    Finding,
    Vendor,
    fullness,
    in_window,
    merged,
    most_in_window,
    rates,
    short,
    together,
    vendor,
)
from wabajobs.capability import ServiceClass
from wabajobs.decisions import Decisions

WHOLE = {"margin": 0.0, "interactive_reserve": 0.0, "standard_reserve": 0.0}
"""Settings under which every class may use all of a limit: what the mechanism itself reaches."""
SKEWS = [-30.0 + 60.0 * i / (PROCESSES - 1) for i in range(PROCESSES)]
"""Half a minute slow to half a minute fast."""
DRIFT = 0.2


# ── P1: never over the limit ────────────────────────────────────────────────────────────────────────────────


def p1(arena: Arena) -> list[Finding]:
    """Most calls in any rolling window at the vendor, as a share of the limit; refusals; as the only client.

    Two patterns, by 8 processes whose wall clocks differ by up to a minute, with arrivals that drift by up to
    0.2 s: *saturate* (background, paced) and *edge* (interactive, not paced: one call, silence for most of a
    window, then as fast as possible until nearly the end of the next), once for each of several phases of
    the buckets. No margin and no reserve, so the ring alone must hold. Anchors in the same patterns, with
    right clocks and no drift; those that go by the caller's clock once more with wrong ones.
    """
    hour, limit = arena.pick((8, 400), (3, 150))
    gate = short(hour, **WHOLE, spread_seconds=0.3, start_within_seconds=0.09)
    drift = {"drift": DRIFT, "drift_period": 1.7}
    findings = []
    with vendor(arena.stage, hour=hour, limit=limit) as shop:
        shop.gate(gate)
        begin = together()
        tasks = [
            shop.task("call", begin=begin, end=begin + 2 * hour, gate=gate, skew=skew, **drift) for skew in SKEWS
        ]
        arena.crowd.do(tasks)
        report = shop.report()
        findings.append(_p1("saturated, paced", shop, report))
        width = (hour + 0.3) / 120
        phases = arena.pick(5, 1)
        shop.post("reset", limits=True)
        shop.gate(gate)
        begin = together()
        for phase in range(phases):
            start = begin + phase * 1.95 * hour + phase * width / phases
            edge = {"begin": start, "end": start + 1.95 * hour, "gate": gate, "class": "interactive"}
            burst = start + (0.85 + 0.1 * phase / phases) * hour
            tasks = [
                shop.task(
                    "call", **edge, skew=skew, **drift, bursts=[*([[start, 1]] if not i else []), [burst, None]]
                )
                for i, skew in enumerate(SKEWS)
            ]
            arena.crowd.do(tasks)
        findings.append(_p1(f"idle, then as fast as possible ({phases} phases)", shop, shop.report()))
    anchors = _anchors_at_the_edge(arena)
    findings[-1].anchors = {name: f"{each['edge']:.2f}" for name, each in anchors.items()}
    findings[0].anchors = {name: f"{each['greedy']:.2f}" for name, each in anchors.items() if each["greedy"]}
    findings[0].facts["anchors"] = anchors
    return findings


def _p1(case: str, shop: Vendor, report: dict[str, Any]) -> Finding:
    worst = report["most_in_window"].get(shop.app, 0) / shop.limit
    refused = report["refused"]
    return Finding(
        property="P1",
        what=f"most calls in any rolling window / limit; refusals: {case}",
        target="<= 1.000; 0",
        ours=f"{worst:.3f}; {refused}",
        met=worst <= 1 and refused == 0,
        facts={"worst": worst, "refused": refused, "calls": report["calls"], "limit": shop.limit},
    )


def _anchors_at_the_edge(arena: Arena) -> dict[str, dict[str, Any]]:
    hour, limit = arena.pick((4, 200), (2, 100))
    found: dict[str, dict[str, Any]] = {}
    names = arena.pick(LIMITERS, LIMITERS[:1])
    with vendor(arena.stage, hour=hour, limit=limit) as shop:
        for name in names:
            found[name] = {
                "greedy": _by_anchor(arena, shop, name, 0.0, [0.0] * PROCESSES) if not arena.quick else None,
                "edge": _by_anchor(arena, shop, name, 0.85, [0.0] * PROCESSES),
            }
        for name in () if arena.quick else ("limits moving window", "pyrate-limiter log"):
            found[f"{name}, clocks ±30 s"] = {
                "greedy": _by_anchor(arena, shop, name, 0.0, SKEWS),
                "edge": _by_anchor(arena, shop, name, 0.85, SKEWS),
            }
        for name, share in (
            () if arena.quick else (("each the whole limit", 1.0), ("each its share", 1 / PROCESSES))
        ):
            found[f"Celery rate_limit, {PROCESSES} workers, {name}"] = _by_celery(arena, shop, share)
    return found


def _by_anchor(arena: Arena, shop: Vendor, name: str, idle: float, skews: Sequence[float]) -> float:
    """Return what a limiter lets through in any window, as a share of the limit."""
    arena.stage.flush()
    shop.post("reset", limits=True)
    begin = together()
    burst, end = begin + idle * shop.hour, begin + (1.95 if idle else 1.6) * shop.hour
    tasks = [
        shop.task(
            "anchor",
            limiter=name,
            skew=skew,
            begin=begin,
            end=end,
            bursts=[*([[begin, 1]] if idle and not i else []), [burst, None]],
        )
        for i, skew in enumerate(skews)
    ]
    return most_in_window([began for began, *_ in merged(arena.crowd.do(tasks))], shop.hour) / shop.limit


def _by_celery(arena: Arena, shop: Vendor, share: float) -> dict[str, Any]:
    """Return the same of plain Celery's `rate_limit`, which each worker process keeps by itself."""
    workers = PROCESSES
    rate = shop.limit / shop.hour * share
    arena.stage.flush()
    env = {
        "BENCH_BROKER_URL": arena.stage.redis.broker_url,
        "BENCH_GRAPH_URL": shop.url,
        "BENCH_GRAPH_TOKEN": shop.token,
        "BENCH_RATE_LIMIT": f"{rate:.3f}/s",
    }
    os.environ.update(env)
    module = importlib.import_module("benchmarks.gate_celery")  # not before: it reads the environment
    argv = [sys.executable, "-m", "celery", "-A", "benchmarks.gate_celery", "worker", "--concurrency=1"]
    names = [f"celery-{time.monotonic_ns()}-{i}" for i in range(workers)]
    for i, name in enumerate(names):
        quiet = ["--loglevel=INFO", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        arena.stage.start(name, [*argv, *quiet, "--hostname", f"w{i}@bench"], env)
    for name in names:
        log = arena.stage.folder / f"{name}.log"
        arena.stage.until(lambda log=log: "ready." in log.read_text(errors="replace"), what="a Celery worker")
    shop.post("reset", limits=True)
    for _ in range(int(2 * shop.limit * workers * share) + 3 * shop.limit):
        module.call.delay(shop.wabas[0])
    time.sleep(1.2 * shop.hour)
    arena.stage.stop(*names)
    report = shop.report()
    worst = report["most_in_window"].get(shop.app, 0) / shop.limit
    return {"greedy": worst, "edge": worst, "refused": report["refused"], "calls": report["calls"]}


# ── P2: the whole of the limit ──────────────────────────────────────────────────────────────────────────────


def p2(arena: Arena) -> list[Finding]:
    """The share of the limit that a saturating background uses as the only client, after a first window.

    Once without margin and reserves (what the ring and the pacer reach), and once with the settings as they
    are shipped, where it is also told as a share of what background calls may use. Counted from the vendor's
    own account, over whole windows.
    """
    hour, limit = arena.pick((36, 3600), (3, 150))
    findings = []
    cases: tuple[tuple[str, dict[str, Any]], ...] = (("no margin, no reserves", WHOLE), ("as shipped", {}))
    for case, more in cases[: arena.pick(2, 1)]:
        gate = short(hour, **more)
        with vendor(arena.stage, hour=hour, limit=limit) as shop:
            reader = shop.gate(gate)
            begin = together()
            windows = arena.pick(2.0, 1.8)
            end = begin + windows * hour
            results = arena.crowd.do(
                [shop.task("call", begin=begin, end=end, gate=gate) for _ in range(PROCESSES)]
            )
            (window,) = reader.read(shop.app).windows
            moments = sorted(call["at"] for call in shop.calls())
            used = in_window(moments, end, (windows - 1) * hour) / (limit * (windows - 1))
            full = in_window(moments, end, hour) / limit
            report = shop.report()
            usable = window.usable[ServiceClass.BACKGROUND] / limit
            bound = hour / (hour + gate["spread_seconds"] + (hour + gate["spread_seconds"]) / 120)
        target = 0.985 if more else None
        findings.append(
            Finding(
                property="P2",
                what=f"use of the limit, saturated, sole client: {case}",
                target=">= 0.985" if target else "(told for information)",
                ours=f"{used:.3f}" + ("" if more else f"; {used / usable:.3f} of what background may use"),
                met=used >= target if target else None,
                anchors={"the ring's bound here": f"{bound * usable:.3f}"},
                facts={
                    "used": used,
                    "last window": full,
                    "usable": usable,
                    "bound": bound,
                    "refused": report["refused"],
                    "reasons": dict(sum((Counter(one["reasons"]) for one in results), Counter())),
                    "worst": report["most_in_window"].get(shop.app, 0) / limit,
                },
            )
        )
    if not arena.quick:
        findings[0].anchors |= _anchor_use(arena)
    return findings


def _anchor_use(arena: Arena) -> dict[str, str]:
    """What others use in the same state, and how many of their calls are refused by the vendor in an hour."""
    hour, limit = arena.pick((5, 250), (2, 100))
    found = {}
    with vendor(arena.stage, hour=hour, limit=limit) as shop:
        for name in arena.pick(LIMITERS, LIMITERS[:1]):
            arena.stage.flush()
            shop.post("reset", limits=True)
            begin = together()
            end = begin + 2 * hour
            arena.crowd.do([shop.task("anchor", limiter=name, begin=begin, end=end) for _ in range(PROCESSES)])
            calls = shop.calls()
            good = [call["at"] for call in calls if not call["refused"]]
            # Over both windows: some let the whole limit through at once at the start of each.
            used = in_window(sorted(good), end, 2 * hour) / (2 * limit)
            refused = sum(call["refused"] for call in calls) / 2
            found[name] = f"{used:.2f}, {refused:.0f} refused/h"
    return found


# ── P3: beside others ───────────────────────────────────────────────────────────────────────────────────────

LEVELS = (0.0, 0.2, 0.4, 0.1, 0.3, 0.0, 0.4, 0.2)


def p3(arena: Arena) -> list[Finding]:
    """Beside another program of the same app that takes 0 to 40 % of the limit, in levels that change.

    A process without any limiter makes the other's calls over HTTP. Told: our refusals per hour, the mean
    fullness of the vendor's window after the first one, and the other's calls that were refused. Margin 2 %,
    without reserves (as the target was found) and with those shipped, which a background leaves free. Anchor:
    an exact window that knows nothing of the others.
    """
    hour, limit = arena.pick((20, 2000), (4, 400))
    levels = LEVELS if not arena.quick else LEVELS[1:3]
    no_reserves = {"interactive_reserve": 0.0, "standard_reserve": 0.0}
    findings = []
    for case, more in arena.pick(
        (("no reserves", no_reserves), ("as shipped", {})), (("no reserves", no_reserves),)
    ):
        found = _beside_others(arena, hour, limit, levels, "gate", **more)
        per_hour = found["refused per hour"]
        findings.append(
            Finding(
                property="P3",
                what=f"others take 0-40 %: our refusals per hour / mean total use / others' refusals: {case}",
                target="<= 0.1 / >= 0.94 / 0",
                ours=f"{per_hour:.2f} / {found['use']:.3f} / {found['others refused']}",
                met=per_hour <= 0.1 and found["use"] >= 0.94 and found["others refused"] == 0,
                facts=found,
            )
        )
    if arena.quick:
        return findings
    anchor = _beside_others(arena, hour, limit, levels[:4], "limits moving window")
    findings[0].anchors["limits moving window"] = (
        f"{anchor['refused per hour']:.0f} / {anchor['use of good calls']:.2f} / {anchor['others refused']}"
    )
    findings[0].facts["anchor"] = anchor
    return findings


def _beside_others(
    arena: Arena, hour: float, limit: int, levels: Sequence[float], who: str, **more: Any
) -> dict[str, Any]:
    gate = short(hour, **more)
    with vendor(arena.stage, hour=hour, limit=limit) as shop:
        shop.gate(gate)
        begin = together()
        first = begin + hour  # the first window is ours alone: the state is reached before anybody comes
        end = first + len(levels) * hour / 2
        steps = [[first + i * hour / 2, level * limit / hour] for i, level in enumerate(levels)]
        ours = [
            shop.task("call", begin=begin, end=end, gate=gate)
            if who == "gate"
            else shop.task("anchor", limiter=who, begin=begin, end=end)
            for _ in range(PROCESSES - 1)
        ]
        *results, theirs = arena.crowd.do([*ours, shop.task("others", begin=begin, end=end, rates=steps)])
        calls = shop.calls()
        moments = sorted(call["at"] for call in calls)
        good = sorted(call["at"] for call in calls if not call["refused"])
        refused = [began for began, _, code in merged(results) if code]
        return {
            "refused": len(refused),
            "refused at (hours)": [round((at - begin) / hour, 3) for at in refused[:100]],
            "hours": (end - begin) / hour,
            "refused per hour": len(refused) / ((end - begin) / hour),
            "use": statistics.mean(fullness(moments, hour, first, end)) / limit,
            "use of good calls": statistics.mean(fullness(good, hour, first, end)) / limit,
            "worst": most_in_window(moments, hour) / limit,
            "others": len(theirs["calls"]),
            "others refused": sum(code != 0 for *_, code in theirs["calls"]),
            "changes": merged(results, "changes"),
            "use by level": [
                round(
                    statistics.mean(fullness(moments, hour, first + i * hour / 2, first + (i + 1) * hour / 2))
                    / limit,
                    3,
                )
                for i in range(len(levels))
            ],
        }


# ── P4: the limit is halved ─────────────────────────────────────────────────────────────────────────────────


def p4(arena: Arena) -> list[Finding]:
    """The vendor halves the limit for three hours and tells nobody: trips, and refused calls.

    The crowd saturates it before and goes on. A trip is an opening of a closed breaker; a probe that is
    refused does not open it anew. Allowed: one trip, the calls that were on the wire (rate x latency of an
    answer, here one per process at most), and the probes while the window drains. Anchor: an exact window.
    """
    hour, limit = arena.pick((20, 2000), (4, 400))
    hours = arena.pick(3, 1.2)
    gate = short(hour)
    with vendor(arena.stage, hour=hour, limit=limit, latency=0.03) as shop:
        shop.gate(gate)
        begin = together()
        cut, end = begin + 1.1 * hour, begin + (1.1 + hours) * hour
        arena.crowd.give([shop.task("call", begin=begin, end=end, gate=gate) for _ in range(PROCESSES)])
        time.sleep(max(0.0, cut - time.monotonic()))
        shop.post("limits", app_limit=limit // 2)
        cut = time.monotonic()
        results = arena.crowd.take(PROCESSES)
        calls = shop.calls()
    changes = [change for change in merged(results, "changes") if change[1] == f"app:{shop.app}"]
    refused = sorted(call["at"] for call in calls if call["refused"])
    trips = _trips(changes)
    probes = merged(results, "probes")
    rate = limit / hour * 0.96
    # 27 of the scaled minutes are needed to drain below the new limit: the breaker probes meanwhile.
    allowed = rate * 0.05 + PROCESSES + len(probes)
    moments = sorted(call["at"] for call in calls if not call["refused"])
    late = in_window(moments, end, (hours - 1) * hour) / (hours - 1) / (limit / 2)
    return [
        Finding(
            property="P4",
            what="limit silently halved for 3 h: trips / refused calls / use of the new limit after an hour",
            target=f"1 / <= {allowed:.0f} (on the wire + {len(probes)} probes)",
            ours=f"{trips} / {len(refused)} / {late:.2f}",
            met=trips == 1 and len(refused) <= allowed,
            anchors={} if arena.quick else {"limits moving window": _halved_anchor(arena, hour, limit)},
            facts={
                "trips": trips,
                "refused": len(refused),
                "refused at (hours after the cut)": [round((at - cut) / hour, 3) for at in refused],
                "probes at": [round((at - cut) / hour, 3) for at in probes],
                "changes": [[round((at - cut) / hour, 3), *rest] for at, *rest in changes],
                "use of the new limit": late,
            },
        )
    ]


def _trips(changes: Sequence[Sequence[Any]]) -> int:
    """How often a breaker that was closed has opened."""
    trips, open_ = 0, False
    for _, _, state, _ in changes:
        trips += state == "open" and not open_
        open_ = state == "open"
    return trips


def _halved_anchor(arena: Arena, hour: float, limit: int) -> str:
    hours = 1.0
    with vendor(arena.stage, hour=hour, limit=limit, latency=0.03) as shop:
        arena.stage.flush()
        begin = together()
        end = begin + (0.6 + hours) * hour
        arena.crowd.give(
            [shop.task("anchor", limiter="limits moving window", begin=begin, end=end) for _ in range(PROCESSES)]
        )
        time.sleep(max(0.0, begin + 0.6 * hour - time.monotonic()))
        shop.post("limits", app_limit=limit // 2)
        arena.crowd.take(PROCESSES)
        refused = shop.report()["refused"]
    return f"- / {refused} in {hours:g} h / 0"


# ── P5: people before robots ────────────────────────────────────────────────────────────────────────────────


def p5(arena: Arena) -> list[Finding]:
    """How long interactive calls are kept waiting while seven processes of background calls saturate the limit.

    Bursts of 1 % of the limit, three in an hour, for three hours after a first one. A wait is from the first
    no of the gate to its yes; told in seconds of a real hour. Anchor: an exact window without classes.
    """
    hour, limit = arena.pick((20, 2000), (4, 400))
    hours = arena.pick(3, 1)
    gate = short(hour)
    with vendor(arena.stage, hour=hour, limit=limit) as shop:
        shop.gate(gate)
        begin = together()
        end = begin + (1 + hours) * hour
        moments = [begin + hour + i * hour / 3 for i in range(hours * 3)]
        bursts = [[moment, limit // 100] for moment in moments]
        bulk = [shop.task("call", begin=begin, end=end, gate=gate) for _ in range(PROCESSES - 1)]
        people = shop.task("call", begin=begin, end=end, gate=gate, bursts=bursts, **{"class": "interactive"})
        *_, result = arena.crowd.do([*bulk, people])
        use = in_window(sorted(call["at"] for call in shop.calls()), end, hours * hour) / (limit * hours)
        refused = shop.report()["refused"]
    waits = [wait * 3600 / hour for wait in result["waits"]]
    p99, most = support.quantile(waits, 0.99), max(waits)
    return [
        Finding(
            property="P5",
            what="interactive wait beside a saturating background: p99 / max, in seconds of a real hour",
            target="<= 1 / <= 5",
            ours=f"{p99:.1f} / {most:.1f} (of {len(waits)})",
            met=p99 <= 1 and most <= 5,
            anchors={} if arena.quick else {"limits moving window": _people_without_classes(arena, hour, limit)},
            facts={
                "waits over 0": sorted(wait for wait in waits if wait)[-50:],
                "why": result["reasons"],
                "use": use,
                "refused": refused,
            },
        )
    ]


def _people_without_classes(arena: Arena, hour: float, limit: int) -> str:
    with vendor(arena.stage, hour=hour, limit=limit) as shop:
        arena.stage.flush()
        begin = together()
        end = begin + 2.2 * hour
        name = "limits moving window"
        bulk = [shop.task("anchor", limiter=name, begin=begin, end=end) for _ in range(PROCESSES - 1)]
        bursts = [[begin + (0.7 + i / 3) * hour, limit // 100] for i in range(3)]
        *_, people = arena.crowd.do(
            [*bulk, shop.task("anchor", limiter=name, begin=begin, end=end, bursts=bursts)]
        )
    waits = [wait * 3600 / hour for wait in people["waits"]]
    unserved = limit // 100 * 3 - len(waits)
    return f"{support.quantile(waits, 0.99):.0f} / {max(waits):.0f}" + (f", {unserved} never" if unserved else "")


# ── P13: a stale header ─────────────────────────────────────────────────────────────────────────────────────


def p13(arena: Arena) -> list[Finding]:
    """How long nothing is called after capacity has become free that only a stale header says is taken.

    Others fill the vendor's window at once; the gate hears 100 % and shuts. Then their calls are gone, and the
    vendor would take calls again. Told: from then to the first call that succeeds, and to nine tenths of the
    rate of before; `header_stale_seconds` is 3 s here, a minute of which a breaker opens for half a second.
    """
    hour, limit = arena.pick((60, 3600), (20, 1000))
    stale = 3.0
    # From the last call that still passed to the moment in which there is room: how old the header is by then.
    ages = arena.pick((3.2, 4.0, 5.0), (4.0,))
    gate = short(hour, header_stale_seconds=stale)
    firsts, fulls = [], []
    for age in ages:
        with vendor(arena.stage, hour=hour, limit=limit) as shop:
            shop.gate(gate)
            begin = together()
            end = begin + arena.pick(25, 11)
            arena.crowd.give([shop.task("call", begin=begin, end=end, gate=gate) for _ in range(PROCESSES)])
            time.sleep(begin + 4 - time.monotonic())
            # Not over the limit: else a breaker opens, and it is that which keeps us waiting.
            room = limit - shop.report()["apps"][shop.app]["calls_in_window"]
            shop.post("others", app=shop.app, calls=room - 8)
            time.sleep(age)
            before = [call["at"] for call in shop.calls()]
            shop.post("reset", limits=True)
            free = time.monotonic()
            results = arena.crowd.take(PROCESSES)
            after = [began for began, _, code in merged(results) if began > free and not code]
        firsts.append(min(after, default=end) - free)
        pace = in_window(sorted(before), begin + 4, 3) / 3
        reached = (t for t, rate in rates(after, free, end, 1.0) if rate >= 0.9 * pace)
        fulls.append(next(reached, float("inf")))
    return [
        Finding(
            property="P13",
            what=f"stall by a stale header, room free (stale after {stale:g} s): first call / 90 % of the rate",
            target=f"<= {stale:g} s + RTT (0.1) / -",
            ours=f"{max(firsts):.2f} s / {max(fulls):.1f} s",
            met=max(firsts) <= stale + 0.1,
            facts={"first": firsts, "90 %": fulls},
        )
    ]


# ── P15: all state is lost ──────────────────────────────────────────────────────────────────────────────────


def p15(arena: Arena) -> list[Finding]:
    """Overshoot in the window after Redis has lost everything, in the middle of saturated calling.

    Redis is emptied, the gate is told again a moment later, as the dispatcher would, and everybody goes on.
    With usage headers, and without any, where half of the limit is taken for spent. Anchors in the same way.
    """
    hour, limit = arena.pick((12, 900), (4, 200))
    findings = []
    cases: tuple[tuple[str, dict[str, Any]], ...]
    cases = (("with headers", {}), ("without headers", {"app_usage_header": False}))
    for case, knobs in cases[: arena.pick(2, 1)]:
        gate = short(hour)
        with vendor(arena.stage, hour=hour, limit=limit, **knobs) as shop:
            teller = shop.gate(gate)
            begin = together()
            end = begin + 2.2 * hour
            arena.crowd.give([shop.task("call", begin=begin, end=end, gate=gate) for _ in range(PROCESSES)])
            time.sleep(max(0.0, begin + hour - time.monotonic()))
            arena.stage.flush()
            time.sleep(0.2)
            teller.tell(Decisions(1, (), ()))
            results = arena.crowd.take(PROCESSES)
            report = shop.report()
        worst, refused = report["most_in_window"][shop.app] / limit, report["refused"]
        after = [began for began, *_ in merged(results) if began > begin + hour]
        findings.append(
            Finding(
                property="P15",
                what=f"Redis loses all state, saturated: most in any window / limit; refusals: {case}",
                target="<= 1.000 + calls since the last header" if not knobs else "(told for information)",
                ours=f"{worst:.3f}; {refused}",
                met=worst <= 1.0 + PROCESSES / limit if not knobs else None,
                facts={"worst": worst, "refused": refused, "calls after": len(after)},
            )
        )
    findings[0].anchors = {
        name: _anchor_flushed(arena, name)
        for name in arena.pick(("limits moving window", "pyrate-limiter log", "throttled-py GCRA"), ())
    }
    return findings


def _anchor_flushed(arena: Arena, name: str) -> str:
    hour, limit = 6, 300
    with vendor(arena.stage, hour=hour, limit=limit) as shop:
        arena.stage.flush()
        begin = together()
        end = begin + 1.8 * hour
        arena.crowd.give([shop.task("anchor", limiter=name, begin=begin, end=end) for _ in range(PROCESSES)])
        # Just after its calls have been made: an exact log lets them through in one burst.
        time.sleep(max(0.0, begin + 0.6 * hour - time.monotonic()))
        arena.stage.client_of_redis().flushdb()
        results = arena.crowd.take(PROCESSES)
    return f"{most_in_window([began for began, *_ in merged(results)], hour) / limit:.2f}"


# ── P16: nothing lies idle ──────────────────────────────────────────────────────────────────────────────────


def p16(arena: Arena) -> list[Finding]:
    """How long it takes until background calls use what interactive ones have left, and how much of it.

    Interactive calls take a fifth of the limit for an hour, beside a saturating background; then they stop.
    Told: when nine tenths of what was kept for them may be used by background calls again; how full the
    vendor's window is an hour later, as a share of the ceiling (the limit without the margin).
    """
    hour, limit = arena.pick((20, 2000), (4, 200))
    gate = short(hour)
    with vendor(arena.stage, hour=hour, limit=limit) as shop:
        reader = shop.gate(gate)
        begin = together()
        stop, end = begin + hour, begin + arena.pick(2.3, 2.1) * hour
        bulk = [shop.task("call", begin=begin, end=end, gate=gate) for _ in range(PROCESSES - 1)]
        every = 0.2
        bursts = [
            [begin + i * every, max(1, round(limit * 0.2 / hour * every))] for i in range(int(hour / every))
        ]
        people = shop.task("call", begin=begin, end=stop, gate=gate, bursts=bursts, **{"class": "interactive"})
        arena.crowd.give([*bulk, people])
        usable: list[tuple[float, int]] = []
        for moment in itertools.count(begin, hour / 120):
            if moment > end - 0.1:
                break
            time.sleep(max(0.0, moment - time.monotonic()))
            (window,) = reader.read(shop.app).windows
            usable.append((time.monotonic(), window.usable[ServiceClass.BACKGROUND]))
        arena.crowd.take(PROCESSES)
        moments = sorted(call["at"] for call in shop.calls())
        report = shop.report()
    last = usable[-1][1]
    at_stop = max((u for t, u in usable if t <= stop), default=0), min(u for _, u in usable)
    back = next(t for t, u in usable if t > stop and u >= at_stop[1] + 0.9 * (last - at_stop[1]))
    minutes = (back - stop) * 60 / hour
    full = in_window(moments, end, hour) / limit
    ceiling = 1 - 0.02
    allowed = last / limit
    return [
        Finding(
            property="P16",
            what="idle share taken by others within (minutes of a real hour) / total use of the ceiling",
            target="<= 10 / >= 0.98",
            ours=f"{minutes:.1f} / {full / ceiling:.3f} ({full / allowed:.3f} of what background may use)",
            met=minutes <= 10 and full / ceiling >= 0.98,
            facts={
                "usable at stop, least, last": [*at_stop, last],
                "minutes": minutes,
                "use": full,
                "refused": report["refused"],
                "usable": [[round((t - begin) / hour, 3), u] for t, u in usable],
            },
        )
    ]
