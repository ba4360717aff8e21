"""`wabajobs drill sept-2024`: the incident of September 2024, with plain Celery and with the product."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from wabajobs.drills import arrivals, drawing, judging, page, scale, september, site, watching
from wabajobs.drills.account import Account
from wabajobs.drills.calendar import Calendar
from wabajobs.drills.claims import Claims
from wabajobs.drills.drill import Options, Played
from wabajobs.drills.judging import Limited
from wabajobs.drills.retold import retold
from wabajobs.drills.run import PLAIN, PRODUCT, PlainCelery, Product, Run, Side
from wabajobs.drills.site import Site
from wabajobs.incidents.report import Report
from wabajobs.incidents.report import report as report_of

_PACE: Final = {"whole": (6.5, 1.0), "usual": (6.5, 1.0), "quick": (1.0, 0.25)}
"""Seconds of an hour, and the load."""
SYNCS_AN_HOUR: Final = 45.0
"""The rate limit of plain Celery's syncs: with it all fits under the app's limit, with some room."""
INTERVAL: Final = scale.PROBES_AT_MOST
WIRE: Final = 0.5
"""Seconds in which calls that were on the wire at a refusal arrive."""


@dataclass(frozen=True)
class Story:
    """The drill's hours of what happened."""

    calendar: Calendar

    @property
    def limited(self) -> list[Limited]:
        """When the app was limited, and when only its uploads."""
        hour = self.calendar.hour_of
        return [
            limited
            for one in september.EPISODES
            for limited in (
                Limited(hour(one.begins), hour(one.eased)),
                Limited(hour(one.eased), hour(one.ends), of_uploads=True),
            )
        ]

    @property
    def recoveries(self) -> list[float]:
        """When Meta had recovered, uploads and all."""
        return [self.calendar.hour_of(one.ends) for one in september.EPISODES]

    @property
    def quiet(self) -> tuple[float, float]:
        """The time before the first episode, without its first minutes, in which everything is new."""
        return 0.25, self.calendar.hour_of(september.EPISODES[0].begins)

    def after(self, account: Account) -> list[tuple[float, float]]:
        """From the moment that capacity is back, and a call has shown it, to the next episode."""
        begins = [self.calendar.hour_of(one.begins) for one in september.EPISODES[1:]]
        eased = [self.calendar.hour_of(one.eased) for one in september.EPISODES]
        back = [judging.back_at(account, at) for at in eased]
        return list(zip(back, [*begins, self.calendar.hours], strict=True))


def play(options: Options) -> Played:
    """Play it. Raises `NotReady` without matplotlib."""
    drawing.require()
    calendar = september.calendar(options.length)
    usual, load = _PACE[options.length]
    hour, fleet = options.hour or usual, round(september.FLEET * load)
    asked = arrivals.ordinary(hours=calendar.hours, fleet=fleet, seed=options.seed, load=load)
    say = options.console.print
    say(
        f"{len(asked):,} requests in {calendar.hours:.0f} hours of September 2024, an hour in {hour:g} s:"
        f" {calendar.hours * hour / 60:.1f} minutes. Nobody touches anything, on either side."
    )
    with site.running(
        hour=hour,
        knobs={"app_limit": round(september.LIMIT * load), "seed": options.seed},
        needs=arrivals.needs(asked),
        fleet=fleet,
        naive=SYNCS_AN_HOUR * load,
        keep_logs=options.out / "logs",
    ) as stage:
        product = Product(stage)
        sides: dict[str, Side] = {PLAIN: PlainCelery(stage), PRODUCT: product}
        run = Run(stage, asked, hours=calendar.hours, sides=sides)
        script = september.phases(calendar, load=load, count_refused=options.count_refused)
        with run.playing(script), watching.shown(options.console, lambda: _picture(run, calendar)) as show:
            run.sleep_until(calendar.hours, meanwhile=show)
        run.drain(product)
        report = _report(stage, run, calendar)
        accounts = run.collect()
        duplicates = {
            PRODUCT: len(stage.meta.report()["duplicates"]),
            PLAIN: len(stage.meta_of_naive.report()["duplicates"]),
        }
    story = Story(calendar)
    claims = judged(accounts, story, wire=WIRE / hour, duplicates=duplicates)
    check_report(claims, report, story)
    facts = _facts(options, accounts, hour=hour, late=run.late)
    shown = drawing.Shown(story=story, plain=accounts[PLAIN], product=accounts[PRODUCT], hour=hour)
    markdown = report.markdown() if report else ""
    (options.out / "incident.md").write_text(markdown, encoding="utf-8")
    files = [drawing.png(shown, options.out / "sept-2024.png")]
    files.append(
        page.write(shown, claims, options.out / "sept-2024.html", counted=options.count_refused, report=markdown)
    )
    files.append(options.out / "incident.md")
    return Played(claims, files, facts)


def check_report(claims: Claims, report: Report | None, story: Story) -> None:
    """Hold the incident report that the product wrote by itself against the script."""
    if report is None:
        claims.check("the product has opened one incident by itself", "none, or several", False)
        return
    episodes = report.episodes
    claims.check("episodes in the product's own report: four", f"{len(episodes)}", len(episodes) == 4)
    hour = story.calendar.hour_of
    off = [
        max(
            abs(hour(seen.began_at) - hour(one.begins)),
            abs(hour(seen.ended_at or seen.began_at) - hour(one.ends)),
        )
        for seen, one in zip(episodes, september.EPISODES, strict=False)
    ]
    worst = max(off, default=math.inf)
    claims.check(
        "their begins and ends: within a probe interval of Meta's",
        f"off by {60 * worst:.0f} min at most",
        len(episodes) == 4 and worst <= INTERVAL,
    )
    kinds = {one.kind for one in report.kinds}
    claims.check("kinds of operation that it names: twelve", f"{len(kinds)}", len(kinds) == 12)
    residue = [one.scope.rpartition("/")[2] for one in report.residue]
    told = ", ".join(f"{number} times {what}" for what, number in Counter(residue).items()) or "nothing"
    claims.check("what it says stayed broken longest: uploads", told, set(residue) == {judging.UPLOADS})


def _report(stage: Site, run: Run, calendar: Calendar) -> Report | None:
    """Return the report of the one incident that there should be, in the story's time."""
    ledger = stage.house.ledger
    incidents = ledger.incidents.find()
    if len(incidents) != 1:
        return None
    written = report_of(ledger, incidents[0].id, settings=stage.settings, now=stage.house.clock.now())
    speed = 3600 / stage.hour
    return retold(written, lambda at: calendar.date_of(run.hour_of(at.timestamp())), speed=speed)


def judged(accounts: dict[str, Account], story: Story, *, wire: float, duplicates: dict[str, int]) -> Claims:
    """Hold the product against what is promised, with plain Celery beside it."""
    ours, plain = accounts[PRODUCT], accounts[PLAIN]
    claims, end = Claims(), ours.hours

    def both(claim: str, of: Any, held: bool, form: str) -> None:
        claims.check(claim, format(of(ours), form), held, beside=format(of(plain), form))

    both("requests lost: none", lambda one: one.lost, ours.lost == 0, ",")
    both("requests that still wait at the end: none", lambda one: one.unfinished, ours.unfinished == 0, ",")
    share = judging.refused_share(ours)
    both("calls refused by Meta: at most 0.1 %", judging.refused_share, share <= judging.MOST_REFUSED, ".2%")
    both("effects that happened twice: none", lambda one: duplicates[one.name], not duplicates[PRODUCT], ",")
    close = _too_close(story, wire)
    both("probes sooner than the interval: none", close, close(ours) == 0, ",")
    relapsed = _relapses(story)
    both("calls refused after Meta's recovery: none", relapsed, relapsed(ours) == 0, ",")
    recovered = _recovered(story)
    both(
        "goodput from two probe intervals after each recovery: 90 % or more",
        recovered,
        recovered(ours) >= judging.GOODPUT,
        ".0%",
    )
    both(
        "goodput in the last hour: 90 % or more",
        lambda one: one.goodput(end - 1, end),
        ours.goodput(end - 1, end) >= judging.GOODPUT,
        ".0%",
    )
    quiet, after = judging.slower_than_quiet(ours, [story.quiet], story.after(ours))
    plain_quiet, plain_after = judging.slower_than_quiet(plain, [story.quiet], story.after(plain))
    claims.check(
        "people's waiting (p95) once capacity is back: at most 1.2 times that of quiet days",
        f"{after / quiet:.2f}",
        after <= judging.SLOWER * quiet,
        beside="never served" if math.isinf(plain_after) else f"{plain_after / plain_quiet:.2f}",
    )
    return claims


def _too_close(story: Story, wire: float) -> Any:
    return lambda one: judging.too_close(one, story.limited, interval=0.9 * scale.PROBES_AT_FIRST, wire=wire)


def _relapses(story: Story) -> Any:
    return lambda one: judging.relapses(one, story.limited, grace=INTERVAL)


def _recovered(story: Story) -> Any:
    return lambda one: judging.goodput_after(one, story.recoveries, after=2 * INTERVAL, span=1.0)


def _picture(run: Run, calendar: Calendar) -> Any:
    metas = {PLAIN: run.site.meta_of_naive, PRODUCT: run.site.meta}
    sides = {}
    for name in run.sides:
        report = metas[name].report()
        refused = report["refused"] + report["by_code"].get("613", 0)
        sides[name] = {"calls": f"{report['calls']:,}", "refused": f"{refused:,}"}
    date = calendar.date_of(max(0.0, run.now))
    return watching.picture(
        headline=f"{date:%A %-d September, %H:%M}", share=min(1.0, max(0.0, run.now / run.hours)), sides=sides
    )


def _facts(options: Options, accounts: dict[str, Account], *, hour: float, late: float) -> dict[str, Any]:
    def numbers(one: Account) -> dict[str, Any]:
        return {
            "asked": len(one.requests),
            "done": sum(request.done for request in one.requests),
            "lost": one.lost,
            "unfinished": one.unfinished,
            "calls": len(one.calls),
            "refused": one.refused,
            "refused_on_the_wire": judging.on_the_wire(one, wire=WIRE / hour),
            "goodput_last_hour": one.goodput(one.hours - 1, one.hours),
        }

    return {
        "length": options.length,
        "hours": accounts[PRODUCT].hours,
        "hour_seconds": hour,
        "count_refused": options.count_refused,
        "seed": options.seed,
        "sent_too_late_seconds": late * hour,
        "sides": {name: numbers(one) for name, one in accounts.items()},
    }
