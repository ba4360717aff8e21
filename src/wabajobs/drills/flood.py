"""`wabajobs drill flood`: one partner asks for everything at once; nobody else is to feel it."""

from typing import Final

from wabajobs.drills import alone, arrivals
from wabajobs.drills.account import INTERACTIVE, quantile
from wabajobs.drills.arrivals import DAY
from wabajobs.drills.drill import Options, Played

SLOWER: Final = 1.5
"""How much longer the others may wait while the flood is worked off."""


def play(options: Options) -> Played:
    """Play it."""
    hour, load = alone.pace(options)
    fleet = round(alone.FLEET * load)
    comes, hours = (3.0, 10.0) if options.quick else (6.0, 18.0)
    flood = round((120 if options.quick else 600) * load)
    ordinary = arrivals.ordinary(hours=hours, fleet=fleet, seed=options.seed, load=load)
    asked = arrivals.numbered(
        [(one.at, one.what, one.place) for one in ordinary] + [(comes, "flood", place) for place in range(flood)]
    )
    with alone.playing(options, asked, hours=hours, hour=hour, load=load, fleet=fleet) as scene:
        scene.at(comes)
        scene.say(f"One partner asks for {flood} templates at once.")
        account = scene.finish()
    ended = max(one.ended_at or hours for one in account.requests if one.arrival.what == "flood")
    scene.say(f"The flood was worked off at hour {ended:.1f}.")
    scene.check_nothing_lost(account)
    scene.claims.check("calls refused by Meta: none", f"{account.refused}", account.refused == 0)
    for who, kinds in (("people", INTERACTIVE), ("other partners' standard work", frozenset(DAY) - INTERACTIVE)):
        before = quantile(account.waits(0.5, comes, of=kinds), 0.95)
        meanwhile = quantile(account.waits(comes, max(ended, comes + 2), of=kinds), 0.95)
        # What a busy machine does to a single operation is no queue: two minutes of the drill are let pass.
        bound = max(SLOWER * before, before + 2 / 60)
        scene.claims.check(
            f"waiting of {who} (p95) while the flood is worked off: at most {SLOWER:g} times that before",
            f"{60 * meanwhile:.1f} min, before {60 * before:.1f}",
            meanwhile <= bound,
        )
    return Played(scene.claims, facts={**scene.facts(account), "flood": flood, "worked_off_hours": ended - comes})
