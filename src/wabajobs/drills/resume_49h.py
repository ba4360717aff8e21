"""`wabajobs drill resume-49h`: template syncs are held for 49 hours and then let go, as on 27 September 2024."""

from collections import Counter
from typing import Final

from wabajobs.drills import alone, arrivals
from wabajobs.drills.account import quantile
from wabajobs.drills.drill import Options, Played

PAUSED: Final = 3.0
SLOWER: Final = 1.2


def play(options: Options) -> Played:
    """Play it."""
    hour, load = alone.pace(options, usual=2.0)
    held = 12.0 if options.quick else 49.0
    resumed = PAUSED + held
    hours, fleet = resumed + (6 if options.quick else 12), round(alone.FLEET * load)
    asked = arrivals.ordinary(hours=hours, fleet=fleet, seed=options.seed, load=load)
    with alone.playing(options, asked, hours=hours, hour=hour, load=load, fleet=fleet) as scene:
        scene.at(PAUSED)
        began = scene.pause("template_sync")
        scene.at(resumed)
        ended = scene.resume("template_sync")
        account = scene.finish()
    scene.check_nothing_lost(account)
    made = sum(call.capability == "template_reads" and began <= call.at < ended for call in account.calls)
    scene.claims.check("calls of syncs while they were held: none", f"{made}", made == 0)
    syncs = [
        one for one in account.requests if one.arrival.what == "template_sync" and began < one.asked_at < ended
    ]
    runs = Counter(place for place, _ in {(one.arrival.place, one.operation) for one in syncs})
    most = max(runs.values(), default=0)
    scene.claims.check(
        f"syncs run for {len(syncs):,} requests: at most one for each of {fleet} WABAs",
        f"{sum(runs.values())}, at most {most} for one",
        most <= 1,
    )
    scene.claims.check("calls refused by Meta: none", f"{account.refused}", account.refused == 0)
    before = quantile(account.waits(0.5, PAUSED), 0.95)
    after = quantile(account.waits(ended, hours), 0.95)
    bound = max(SLOWER * before, before + 2 / 60)
    scene.claims.check(
        "people's waiting (p95) after the resume: at most 1.2 times that before the pause",
        f"{60 * after:.1f} min, before {60 * before:.1f}",
        after <= bound,
    )
    caught_up = max((one.ended_at or hours for one in syncs), default=ended) - ended
    scene.say(f"All that was held was done {caught_up:.1f} h after the resume.")
    facts = {"held_requests": len(syncs), "runs": sum(runs.values()), "caught_up_hours": caught_up}
    return Played(scene.claims, facts={**scene.facts(account), **facts})
