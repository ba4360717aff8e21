"""What the gate costs: P10 to P12. Each function is told in its docstring."""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import redis
from limits import RateLimitItemPerHour, strategies

from benchmarks import gate_anchors, support
from benchmarks.gate_stage import Arena, Finding
from wabajobs.capability import Capability, ServiceClass
from wabajobs.clock import HandClock
from wabajobs.decisions import Decisions, Limit, Pause, Scope
from wabajobs.gate import Call, Gate, Outcome, Permit, Report, Wait
from wabajobs.settings import AppSettings, GateSettings, SecretSource

APP = "100000000000001"
WABA = "200000000000001"


def _gate(client: redis.Redis, clock: HandClock | None = None, *, calls: int = 10**9, **settings: Any) -> Gate:
    apps = {APP: AppSettings(token=SecretSource(env="NONE"), calls_per_window=calls, calls_per_waba=calls)}
    return Gate(
        client, settings=GateSettings(**{"silence_seconds": 10_000_000, **settings}), apps=apps, clock=clock
    )


def _call(**more: Any) -> Call:
    usual = {"app": APP, "queue": "q", "partner": "acme", "waba": WABA, "capability": Capability.TEMPLATE_READS}
    return Call(**{**usual, **more})


def _learnt(gate: Gate, decisions: Decisions) -> None:
    gate.tell(decisions)
    permit = gate.admit(_call())
    assert isinstance(permit, Permit), permit
    gate.settle(permit, Report(outcome=Outcome.OK, app_percent=0, waba_percent=0))


def _four(calls: int) -> tuple[Limit, ...]:
    """Limits of the partner and the capability: with the app's and the WABA's there are four windows."""
    return (Limit("partner:acme", calls, 3600), Limit("capability:template_reads", calls, 3600))


# ── P10 ─────────────────────────────────────────────────────────────────────────────────────────────────────


def p10(arena: Arena) -> list[Finding]:
    """What calls that are denied charge: a hundred tries, four limits, the last of which allows five.

    Told: charges in the four windows beyond the calls that were let through. Anchor: four hits of `limits`,
    one after the other, which stop at the first no.
    """
    arena.stage.flush()
    client = arena.stage.client_of_redis()
    gate = _gate(client, calls=1000, margin=0, pacing=False, interactive_reserve=0, standard_reserve=0)
    before = 1
    limits = (Limit("partner:acme", 1000, 3600), Limit("capability:template_reads", 5 + before, 3600))
    _learnt(gate, Decisions(1, (), limits))
    passed = sum(isinstance(gate.admit(_call()), Permit) for _ in range(100))
    reading = gate.read(APP, wabas=[WABA], budgets=["partner:acme", "capability:template_reads"])
    charged = [window.used - before for window in reading.windows]
    wasted = sum(charged) - len(charged) * passed

    hits = strategies.MovingWindowRateLimiter(gate_anchors.store_of_limits(client))
    items = [(RateLimitItemPerHour(1000), name) for name in ("app", "waba", "partner")]
    items.append((RateLimitItemPerHour(5), "capability"))
    through = sum(all(hits.hit(item, name) for item, name in items) for _ in range(100))
    spent = [item.amount - hits.get_window_stats(item, name).remaining for item, name in items]
    return [
        Finding(
            property="P10",
            what="charges of denied calls (100 tries, 4 limits, the 4th allows 5)",
            target="0",
            ours=f"{wasted} (charged {'/'.join(map(str, charged))})",
            met=wasted == 0 and passed == 5,
            anchors={"limits, four in turn": f"{sum(spent) - 4 * through} ({'/'.join(map(str, spent))})"},
        )
    ]


# ── P11 ─────────────────────────────────────────────────────────────────────────────────────────────────────


def p11(arena: Arena) -> list[Finding]:
    """What one decision costs, beside a trivial EVALSHA on the same connection and core.

    Four windows (app, WABA, partner, capability) with calls in each of their 120 buckets, paced; three
    breakers; four pauses that have ended and still lie there. Our process and Redis share one core. In turns, in
    blocks, and the ratio of the medians of each round. Also: `settle`, a refusal, the same with the two
    windows and no pauses of a usual call, round trips, and the server's own microseconds.
    """
    rounds, block = arena.pick((30, 150), (5, 60))
    with _one_core(arena.stage):
        arena.stage.flush()
        client = arena.stage.client_of_redis()
        full, plain = _doors(client)
        candidates = _candidates(arena, client, full, plain)
        took: dict[str, list[float]] = {name: [] for name in candidates}
        for one in candidates.values():  # the first calls load scripts and open connections
            for _ in range(20):
                one()
        for round_ in range(rounds):
            medians = {
                name: statistics.median(_timed(candidates[name]) for _ in range(block))
                for name in support.in_turn(list(candidates), round_)
            }
            for name, median in medians.items():
                took[name].append(median)
        base = took["EVALSHA return 1"]
        ratios = {name: support.ratios(values, base) for name, values in took.items()}
        trips = _round_trips(client, full)
        usual, other = _call(), _call(partner="other")
        server = {
            "admit": _server_microseconds(client, lambda: _admitted(full, usual)),
            "usual admit": _server_microseconds(client, lambda: _admitted(plain, other)),
            "settle": _server_settle(client, full),
            "forecast of 64, each": _server_microseconds(client, lambda: full.forecast([usual] * 64), 50) / 64,
        }
    ratio = statistics.median(ratios["gate: admit"])
    rows = {
        name: f"{statistics.median(each):.2f} ({min(each):.2f}-{max(each):.2f})" for name, each in ratios.items()
    }
    return [
        Finding(
            property="P11",
            what="admit, 4 windows + 4 pauses + breakers: p50 / trivial EVALSHA; round trips; server us",
            target="<= 2.0; 1; <= 25",
            ours=f"{ratio:.2f}; {trips}; {server['admit']:.1f}",
            met=ratio <= 2.0 and trips == 1 and server["admit"] <= 25,
            anchors={name: told for name, told in rows.items() if name not in ("gate: admit", "EVALSHA return 1")}
            | {"server us": ", ".join(f"{name} {value:.1f}" for name, value in server.items())},
            facts={
                "ratios": rows,
                "p50 us": {name: round(statistics.median(each) * 1e6, 1) for name, each in took.items()},
                "server us": server,
                "round trips": trips,
            },
        )
    ]


def _doors(client: redis.Redis) -> tuple[Gate, Gate]:
    """Return a gate with everything in it, and another app's with the usual."""
    ended = datetime.now(UTC) - timedelta(minutes=1)
    scopes = [Scope.of("app", APP), Scope.of("queue", "q"), Scope.of("partner", "acme"), Scope.of("waba", WABA)]
    pauses = tuple(
        Pause(id=i, scope=scope, reason="over", actor="b", created_at=ended, ends_at=ended)
        for i, scope in enumerate(scopes)
    )
    clock = HandClock(datetime.now(UTC) - timedelta(hours=1))
    past = _gate(client, clock)
    _learnt(past, Decisions(1, (), _four(10**9)))
    for _ in range(120):
        clock.advance(timedelta(seconds=29.9))
        permit = past.admit(_call(cost=100, service_class=ServiceClass.INTERACTIVE))
        assert isinstance(permit, Permit), permit
        past.settle(permit, Report(outcome=Outcome.OK, app_percent=0, waba_percent=0))
    full = _gate(client)
    full.tell(Decisions(2, pauses, _four(10**9)))
    return full, _gate(client)


def _admitted(gate: Gate, call: Call) -> Permit:
    permit = gate.admit(call)
    assert isinstance(permit, Permit), permit
    return permit


def _candidates(arena: Arena, client: redis.Redis, full: Gate, plain: Gate) -> dict[str, Callable[[], object]]:
    trivial = client.script_load("return 1")
    open_: list[Permit] = []
    answer = Report(outcome=Outcome.OK, app_percent=1, waba_percent=1)
    # A step of an operation describes its calls once, and asks with that each time.
    usual, two, denied = _call(), _call(partner="other", capability=Capability.PROFILE), _call(cost=2 * 10**9)

    def admit() -> None:
        open_.append(_admitted(full, usual))

    def settle() -> None:
        full.settle(open_.pop() if open_ else _admitted(full, usual), answer)

    def deny() -> None:
        assert isinstance(full.admit(denied), Wait)

    sliding = strategies.SlidingWindowCounterRateLimiter(gate_anchors.store_of_limits(client))
    item, url = RateLimitItemPerHour(10**9), arena.stage.redis.redis_url
    guard = gate_anchors.breaker(url, 5, 30)
    found: dict[str, Callable[[], object]] = {
        "EVALSHA return 1": lambda: client.evalsha(trivial, 0),
        "gate: admit": admit,
        "gate: settle": settle,
        "gate: refusal": deny,
        "gate: admit, 2 windows": lambda: _admitted(plain, two),
        "limits sliding, 4 in turn": lambda: [sliding.hit(item, name) for name in "abcd"],
        "pybreaker, no-op call": lambda: guard(lambda: None),
    }
    for name in gate_anchors.LIMITERS:
        found[name] = gate_anchors.limiter(name, url, 200_000, 3600)
    return found


def _timed(one: Callable[[], object]) -> float:
    begun = time.perf_counter()
    one()
    return time.perf_counter() - begun


def _round_trips(client: redis.Redis, gate: Gate) -> int:
    def reads() -> int:
        return int(client.info("stats")["total_reads_processed"])

    asking = reads()
    asking = reads() - asking
    before = reads()
    _admitted(gate, _call())
    return reads() - before - asking


def _server_microseconds(client: redis.Redis, one: Callable[[], object], number: int = 500) -> float:
    client.config_resetstat()
    for _ in range(number):
        one()
    return float(client.info("commandstats")["cmdstat_fcall"]["usec_per_call"])


def _server_settle(client: redis.Redis, gate: Gate) -> float:
    permits = [_admitted(gate, _call()) for _ in range(500)]
    answer = Report(outcome=Outcome.OK, app_percent=1, waba_percent=1)
    return _server_microseconds(client, lambda: gate.settle(permits.pop(), answer))


@contextmanager
def _one_core(stage: support.Stage) -> Iterator[None]:
    """Put us and Redis on one core, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    server = psutil.Process(stage.redis_pid)
    ours, theirs = os.sched_getaffinity(0), server.cpu_affinity()
    core = max(ours)
    os.sched_setaffinity(0, {core})
    server.cpu_affinity([core])
    try:
        yield
    finally:
        os.sched_setaffinity(0, ours)
        server.cpu_affinity(theirs)


# ── P12 ─────────────────────────────────────────────────────────────────────────────────────────────────────


def p12(arena: Arena) -> list[Finding]:
    """Memory of one window with calls in every bucket, for three volumes; of `limits` and pyrate for one."""
    used = {}
    client = arena.stage.client_of_redis()
    for volume in (5_000, 200_000, 1_000_000):
        arena.stage.flush()
        clock = HandClock()
        gate = _gate(client, clock, calls=volume, interactive_reserve=0)
        _learnt(gate, Decisions(1, (), ()))
        clock.advance(timedelta(hours=3))
        for _ in range(140):
            answer = gate.admit(_call(cost=volume // 130, service_class=ServiceClass.INTERACTIVE))
            if isinstance(answer, Permit):
                gate.settle(answer, Report(outcome=Outcome.OK, app_percent=50, waba_percent=50))
            clock.advance(timedelta(seconds=30.05))
        # The largest that there is: as all its fields look when something has happened to it.
        names = [key for key in client.keys("*") if b":window:" in key]
        used[volume] = max(int(client.memory_usage(name, samples=0)) for name in names)
    volume = arena.pick(200_000, 5_000)
    anchors = {
        name: f"{_memory_of(arena, name, volume):,} B at {volume:,}/h"
        for name in ("limits moving window", "pyrate-limiter log", "throttled-py GCRA")
    }
    return [
        Finding(
            property="P12",
            what="memory of one window at 5,000 / 200,000 / 1,000,000 calls an hour",
            target="<= 1024 B",
            ours=" / ".join(str(each) for each in used.values()) + " B",
            met=max(used.values()) <= 1024,
            anchors=anchors,
            facts={str(volume): size for volume, size in used.items()},
        )
    ]


def _memory_of(arena: Arena, name: str, volume: int) -> int:
    arena.stage.flush()
    client = arena.stage.client_of_redis()
    may = gate_anchors.limiter(name, arena.stage.redis.redis_url, volume, 3600)
    for _ in range(volume):
        may()
    return sum(int(client.memory_usage(key, samples=0) or 0) for key in client.keys("*"))
