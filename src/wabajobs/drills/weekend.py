"""`wabajobs drill weekend`: from Friday to Monday Meta lets next to nothing through, and nobody is there.

What is to be seen: nothing is lost, Redis and ledger do not fill up, the outage costs probes and not retries, and
on Monday all is worked off before anybody has looked.
"""

from typing import Any, Final

from wabajobs.drills import alone, arrivals, judging
from wabajobs.drills.alone import Scene
from wabajobs.drills.drill import Options, Played
from wabajobs.drills.judging import Limited

FRIDAY: Final = 4.0
"""When it begins, in hours."""
MORE_MEMORY: Final = 1.25
"""How much more of Redis may be in use on Sunday than on Friday night."""


def play(options: Options) -> Played:
    """Play it."""
    hour, load = alone.pace(options, usual=2.0)
    load /= 2
    monday = 14.0 if options.quick else 64.0
    served = monday + (6 if options.quick else 14)
    hours, fleet = served + 2, round(alone.FLEET * load)
    asked = arrivals.ordinary(hours=hours, fleet=fleet, seed=options.seed, load=load)
    script = [alone.phase("next to nothing passes", FRIDAY, monday, limits={"app_limit": 2})]
    with alone.playing(options, asked, hours=hours, hour=hour, load=load, fleet=fleet, phases=script) as scene:
        scene.at(FRIDAY)
        scene.say("Friday evening: Meta lets two calls an hour through. Everybody has gone home.")
        scene.at(FRIDAY + 3)
        friday = _stock(scene)
        scene.at(monday - 0.5)
        sunday = _stock(scene)
        scene.at(monday)
        scene.say("Monday morning: Meta is well again.")
        account = scene.finish()
    scene.check_nothing_lost(account)
    weekend = [Limited(FRIDAY, monday)]
    close = judging.too_close(account, weekend, interval=0.9 * alone.interval(), wire=alone.WIRE / hour)
    scene.claims.check("probes sooner than the interval: none", f"{close}", close == 0)
    relapses = judging.relapses(account, weekend, grace=0.5)
    scene.claims.check("calls refused after Meta's recovery: none", f"{relapses}", relapses == 0)
    more = sunday["memory"] / friday["memory"]
    scene.claims.check(
        f"memory of Redis from Friday night to Monday: at most {MORE_MEMORY:g} times",
        f"{more:.2f}",
        more <= MORE_MEMORY,
    )
    rows, most = sunday["syncs"], fleet + arrivals.needs(asked)["onboarding"]
    scene.claims.check(
        "syncs that wait: at most one for each WABA, new ones too", f"{rows} of {most}", rows <= most
    )
    drained = account.backlog(0.5)[int(2 * served)]
    scene.claims.check(
        f"requests that still wait {served - monday:.0f} hours after the recovery: at most one for each WABA",
        f"{drained} of {most}",
        drained <= most,
    )
    return Played(scene.claims, facts={**scene.facts(account), "friday": friday, "sunday": sunday})


def _stock(scene: Scene) -> dict[str, Any]:
    opened = scene.site.house.ledger.operations.count_open()
    memory: Any = scene.site.redis.info("memory")
    stock = {
        "memory": memory["used_memory"],
        "open": sum(number for _, _, number, _ in opened),
        "syncs": sum(number for kind, _, number, _ in opened if kind == "template_sync"),
    }
    scene.say(
        f"Redis holds {stock['memory'] / 1e6:.1f} MB; {stock['open']} operations wait, {stock['syncs']} syncs."
    )
    return stock
