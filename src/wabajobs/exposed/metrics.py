"""The metrics for Prometheus: one line for each in the catalogue, read from what was seen last.

How many series there can be is bounded: no label names a WABA or an operation, and of partners only those are
named who used most of an app's budget.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from wabajobs.capability import ServiceClass
from wabajobs.decisions import Pause, ScopeType
from wabajobs.exposed.bulletin import Bulletin
from wabajobs.exposed.health import Status
from wabajobs.exposed.view import View
from wabajobs.gate import AppReading, BreakerReading, Spender, WindowReading
from wabajobs.ledger import Spent

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PARTNERS: Final = 10
"""How many partners of each app are named."""
OTHERS: Final = "(others)"
"""The rest of the partners, together."""

Sample = tuple[tuple[str, ...], float]
Read = Callable[[View, Bulletin], Iterable[Sample]]


@dataclass(frozen=True)
class Metric:
    """One gauge of the catalogue."""

    name: str
    labels: tuple[str, ...]
    meaning: str
    read: Read


def exposition(view: View, bulletin: Bulletin) -> bytes:
    """Return all metrics in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Seen(view, bulletin))
    return generate_latest(registry)


class _Seen(Collector):
    """Reads the catalogue off what was seen."""

    def __init__(self, view: View, bulletin: Bulletin) -> None:
        self._sight = view
        self._bulletin = bulletin

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for metric in CATALOGUE:
            family = GaugeMetricFamily(metric.name, metric.meaning, labels=metric.labels)
            for labels, value in metric.read(self._sight, self._bulletin):
                family.add_metric(labels, value)
            yield family


# ── operations ──────────────────────────────────────────────────────────────────────────────────────────────


def _operations(view: View, _: Bulletin) -> Iterable[Sample]:
    counted: Counter[tuple[str, str]] = Counter()
    for one in view.counted.unfinished:
        counted[one.kind, str(one.state)] += one.number
    return counted.items()


def _held(view: View, _: Bulletin) -> Iterable[Sample]:
    counted: Counter[tuple[str, str]] = Counter()
    for one in view.counted.unfinished:
        if one.by:
            counted[one.kind, one.by] += one.number
    return counted.items()


def _oldest(view: View, _: Bulletin) -> Iterable[Sample]:
    oldest: dict[tuple[str, str, str], datetime] = {}
    for one in view.counted.unfinished:
        which = (one.kind, str(one.state), str(one.service_class))
        oldest[which] = min(oldest.get(which, one.oldest), one.oldest)
    return [(which, _age(view, since)) for which, since in oldest.items()]


def _finished(view: View, _: Bulletin) -> Iterable[Sample]:
    return [((kind, str(state)), number) for (kind, state), number in view.counted.finished.items()]


# ── programs ────────────────────────────────────────────────────────────────────────────────────────────────


def _reachable(view: View, _: Bulletin) -> Iterable[Sample]:
    return [(("ledger",), not view.ledger_error), (("redis",), not view.redis_error)]


def _leads(view: View, _: Bulletin) -> Iterable[Sample]:
    return [((), view.leads)]


def _workers(view: View, _: Bulletin) -> Iterable[Sample]:
    return [((queue,), workers) for queue, (workers, _slots) in (view.workers or {}).items()]


def _slots(view: View, _: Bulletin) -> Iterable[Sample]:
    return [((queue,), slots) for queue, (_workers, slots) in (view.workers or {}).items()]


def _unfetched(view: View, _: Bulletin) -> Iterable[Sample]:
    return [((queue,), queue in view.unfetched) for queue in view.workers or {}]


# ── the gate ────────────────────────────────────────────────────────────────────────────────────────────────


def _of_apps(read: Callable[[AppReading], float]) -> Read:
    return lambda view, _: [((app.app,), read(app)) for app in view.apps or ()]


def _behind(view: View, _: Bulletin) -> Iterable[Sample]:
    return [((app.app,), max(0, view.revision - app.revision)) for app in view.apps or () if app.revision]


def _of_windows(read: Callable[[WindowReading], float | None]) -> Read:
    def samples(view: View, _: Bulletin) -> Iterable[Sample]:
        for app in view.apps or ():
            for window in app.windows:
                if (value := read(window)) is not None:
                    yield (app.app, _budget(window)), value

    return samples


def _usable(view: View, _: Bulletin) -> Iterable[Sample]:
    for app in view.apps or ():
        for window in app.windows:
            for service_class, calls in window.usable.items():
                yield (app.app, _budget(window), str(service_class)), calls


def _budget(window: WindowReading) -> str:
    return "app" if window.scope.startswith("app:") else window.scope.removeprefix("capability:")


def _exhausted_in(window: WindowReading) -> float | None:
    time_left = window.exhausted_in(ServiceClass.INTERACTIVE)
    return None if time_left is None or window.shadow else time_left.total_seconds()


def _of_breakers(read: Callable[[BreakerReading], float | None]) -> Read:
    def samples(view: View, _: Bulletin) -> Iterable[Sample]:
        for app in view.apps or ():
            for breaker in app.breakers:
                if _is_wide(breaker) and (value := read(breaker)) is not None:
                    yield (app.app, breaker.scope.partition("/")[2] or "app"), value

    return samples


def _narrow(app: AppReading) -> float:
    return sum(one.state == "open" and not _is_wide(one) for one in app.breakers)


def _is_wide(breaker: BreakerReading) -> bool:
    return breaker.scope.startswith("app:")


def _spent_by_queue(view: View, _: Bulletin) -> Iterable[Sample]:
    return _spent(view, lambda one: one.queue, most=None)


def _spent_by_partner(view: View, _: Bulletin) -> Iterable[Sample]:
    return _spent(view, lambda one: one.partner, most=PARTNERS)


def _of_spent(read: Callable[[Spent], float]) -> Read:
    return lambda view, _: [
        ((app, one.name), read(one)) for app, spent in view.counted.spent.items() for one in spent
    ]


def _spent(view: View, of: Callable[[Spender], str], *, most: int | None) -> Iterable[Sample]:
    for app, spenders in view.counted.spenders.items():
        counted: Counter[str] = Counter()
        for one in spenders:
            counted[of(one)] += one.calls
        named = counted.most_common(most)
        yield from (((app, name), calls) for name, calls in named)
        if rest := counted.total() - sum(calls for _, calls in named):
            yield (app, OTHERS), rest


# ── people ──────────────────────────────────────────────────────────────────────────────────────────────────


def _pauses(view: View, _: Bulletin) -> Iterable[Sample]:
    return Counter((str(one.scope.type), str(one.mode)) for one in view.pauses).items()


def _pause_active(view: View, _: Bulletin) -> Iterable[Sample]:
    return [((scope,), 1) for scope in sorted({str(one.scope) for one in view.pauses if _is_nobodys(one)})]


def _is_nobodys(pause: Pause) -> bool:
    return pause.scope.type in (ScopeType.ALL, ScopeType.APP, ScopeType.CAPABILITY, ScopeType.QUEUE)


def _ramps(view: View, _: Bulletin) -> Iterable[Sample]:
    return [((), sum(one.is_ramp for one in view.pauses))]


def _ramp_standing(view: View, _: Bulletin) -> Iterable[Sample]:
    return [((), max((_age(view, one.stepped_at) for one in view.pauses if one.stepped_at), default=0.0))]


# ── the Hub and the public ──────────────────────────────────────────────────────────────────────────────────


def _of_callbacks(read: str) -> Read:
    return lambda view, _: [((), getattr(view.callbacks, read))] if view.callbacks else []


def _incidents(view: View, _: Bulletin) -> Iterable[Sample]:
    counted = Counter(one.state for one in view.incidents)
    return [((state,), counted[state]) for state in ("on", "quiet")]


def _component(_: View, bulletin: Bulletin) -> Iterable[Sample]:
    return [
        ((line.name, str(status)), line.health.status is status) for line in bulletin.lines for status in Status
    ]


def _told(view: View, bulletin: Bulletin) -> Iterable[Sample]:
    open_ = [one.newest.at for one in bulletin.incidents if not one.is_resolved]
    return [((), _age(view, min(open_)))] if open_ else []


def _looked(view: View, _: Bulletin) -> Iterable[Sample]:
    return [((), view.at.timestamp())]


def _counted_at(view: View, _: Bulletin) -> Iterable[Sample]:
    return [((), view.counted.at.timestamp())]


def _counting(view: View, _: Bulletin) -> Iterable[Sample]:
    return [((), view.counted.seconds)]


def _age(view: View, since: datetime) -> float:
    return max(0.0, (view.at - since).total_seconds())


CATALOGUE: Final = (
    Metric("wabajobs_operations", ("queue", "state"), "Operations that are not finished.", _operations),
    Metric("wabajobs_held_operations", ("queue", "by"), "Held operations, by what holds them.", _held),
    Metric(
        "wabajobs_oldest_unfinished_seconds",
        ("queue", "state", "class"),
        "Time since the oldest operation that is not finished was accepted.",
        _oldest,
    ),
    Metric(
        "wabajobs_operations_finished_last_hour",
        ("queue", "state"),
        "Operations that ended within the last hour, by how they ended.",
        _finished,
    ),
    Metric("wabajobs_reachable", ("part",), "Whether the ledger and Redis answer.", _reachable),
    Metric(
        "wabajobs_dispatcher_leads", (), "Whether a dispatcher leads; else nothing leaves the ledger.", _leads
    ),
    Metric("wabajobs_workers", ("queue",), "Living worker processes.", _workers),
    Metric("wabajobs_slots", ("queue",), "Operations that these can work at at once.", _slots),
    Metric(
        "wabajobs_queue_unfetched",
        ("queue",),
        "Whether messages lay unfetched within the last minute although workers live.",
        _unfetched,
    ),
    Metric(
        "wabajobs_gate_told",
        ("app",),
        "Whether the gate knows what people have decided; else no call passes.",
        _of_apps(lambda app: app.told),
    ),
    Metric(
        "wabajobs_gate_revisions_behind", ("app",), "Decisions that the gate has not been told of yet.", _behind
    ),
    Metric(
        "wabajobs_gate_learning",
        ("app",),
        "Whether the gate is finding out how much of the budget is spent, one call at a time.",
        _of_apps(lambda app: app.learning),
    ),
    Metric("wabajobs_calls_in_flight", ("app",), "Calls on the wire.", _of_apps(lambda app: app.in_flight)),
    Metric(
        "wabajobs_budget_limit_calls",
        ("app", "budget"),
        "Calls that a budget's rolling window may hold.",
        _of_windows(lambda window: window.limit),
    ),
    Metric(
        "wabajobs_budget_used_calls",
        ("app", "budget"),
        "Calls of ours in the window.",
        _of_windows(lambda window: window.used),
    ),
    Metric(
        "wabajobs_budget_others_calls",
        ("app", "budget"),
        "Calls in the window beyond ours, as Meta's headers say.",
        _of_windows(lambda window: window.others),
    ),
    Metric(
        "wabajobs_budget_usable_calls",
        ("app", "budget", "class"),
        "How full a class of service may make the window.",
        _usable,
    ),
    Metric(
        "wabajobs_budget_window_seconds",
        ("app", "budget"),
        "Length of the window.",
        _of_windows(lambda window: window.window.total_seconds()),
    ),
    Metric(
        "wabajobs_budget_pace_calls",
        ("app", "budget"),
        "Calls of ours in a whole window, at the rate of late.",
        _of_windows(lambda window: window.pace),
    ),
    Metric(
        "wabajobs_budget_exhausted_in_seconds",
        ("app", "budget"),
        "When the window will be full for people, at the rate of late; absent when it will not be.",
        _of_windows(_exhausted_in),
    ),
    Metric(
        "wabajobs_budget_spent_calls",
        ("app", "queue"),
        "Calls in the app's window, by queue.",
        _spent_by_queue,
    ),
    Metric(
        "wabajobs_budget_partner_calls",
        ("app", "partner"),
        f"Calls in the app's window of the {PARTNERS} partners who used most of it, and of all others.",
        _spent_by_partner,
    ),
    Metric(
        "wabajobs_calls_last_hour",
        ("app", "capability"),
        "Calls of the last hour, written down every `[watch] sample_seconds`.",
        _of_spent(lambda one: one.calls),
    ),
    Metric(
        "wabajobs_calls_refused_last_hour",
        ("app", "capability"),
        "Those of them that Meta refused for a limit.",
        _of_spent(lambda one: one.refused),
    ),
    Metric(
        "wabajobs_breaker_open",
        ("app", "scope"),
        "Whether a breaker lets nothing through: of the whole app, or of one of its capabilities.",
        _of_breakers(lambda breaker: breaker.state == "open"),
    ),
    Metric(
        "wabajobs_breaker_half_open",
        ("app", "scope"),
        "Whether it waits for a probe, or for its outcome.",
        _of_breakers(lambda breaker: breaker.state == "half-open"),
    ),
    Metric(
        "wabajobs_breaker_trips",
        ("app", "scope"),
        "How often it has tripped in a row.",
        _of_breakers(lambda breaker: breaker.trips),
    ),
    Metric(
        "wabajobs_breaker_retry_in_seconds",
        ("app", "scope"),
        "When the next probe is due; absent while it is closed.",
        _of_breakers(lambda breaker: breaker.retry_in.total_seconds() if breaker.retry_in else None),
    ),
    Metric(
        "wabajobs_narrow_breakers_open",
        ("app",),
        "How many breakers of single WABAs and numbers are open.",
        _of_apps(_narrow),
    ),
    Metric("wabajobs_pauses", ("type", "mode"), "Pauses in force, by what they cover and what they do.", _pauses),
    Metric(
        "wabajobs_pause_active",
        ("scope",),
        "1 for each scope of everybody that is paused, or runs slowly: `all`, `queue:template_sync`.",
        _pause_active,
    ),
    Metric("wabajobs_ramps", (), "Pauses that are being lifted step by step.", _ramps),
    Metric(
        "wabajobs_ramp_standing_seconds",
        (),
        "Time since the last step of the ramp that has made none for longest; 0 without a ramp.",
        _ramp_standing,
    ),
    Metric(
        "wabajobs_callbacks_waiting",
        (),
        "Events under way to the Hub, or tried in vain; absent where no callback is configured.",
        _of_callbacks("waiting"),
    ),
    Metric(
        "wabajobs_callbacks_behind",
        (),
        "Events that were not even taken up for delivery.",
        _of_callbacks("behind"),
    ),
    Metric("wabajobs_callbacks_given_up", (), "Events that could not be delivered.", _of_callbacks("given_up")),
    Metric(
        "wabajobs_component_status",
        ("component", "status"),
        "1 for the status that a component of the status page has, 0 for the others.",
        _component,
    ),
    Metric(
        "wabajobs_public_update_age_seconds",
        (),
        "Time since the public was told something of the announced incident that it has waited for longest.",
        _told,
    ),
    Metric(
        "wabajobs_incidents",
        ("state",),
        "Incidents that nobody has closed yet: whose trouble is `on`, and that are `quiet`.",
        _incidents,
    ),
    Metric("wabajobs_looked_timestamp_seconds", (), "When was looked last.", _looked),
    Metric("wabajobs_counted_timestamp_seconds", (), "When operations were counted last.", _counted_at),
    Metric("wabajobs_counting_seconds", (), "How long that took.", _counting),
)
"""Every metric there is."""
