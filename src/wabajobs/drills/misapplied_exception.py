"""`wabajobs drill misapplied-exception`: Meta says that the limit is doubled, and it is not.

The operator believes it, and so does the header. Half a day later the exception is applied in truth.
"""

from typing import Final

from wabajobs.drills import alone, arrivals
from wabajobs.drills.drill import Options, Played

SAID: Final = 3.0
"""When Meta says it, in hours."""
MOST_REFUSED: Final = 0.02
PROBES: Final = (5 / 60, 10 / 60)
"""Hours between two probes. Each time that the lie is found out costs one, and it is to cost as little of an hour
as with the product's own half minute."""


def play(options: Options) -> Played:
    """Play it."""
    hour, load = alone.pace(options)
    limit, fleet = round(alone.LIMIT * load), round(1.6 * alone.FLEET * load)
    applied, hours = (6.0, 9.0) if options.quick else (12.0, 18.0)
    asked = arrivals.ordinary(hours=hours, fleet=fleet, seed=options.seed, load=load)
    script = [
        alone.phase("the exception is misapplied", SAID, applied, limits={"claimed_app_limit": 2 * limit}),
        alone.phase("the exception is applied", applied, None, limits={"app_limit": 2 * limit}),
    ]
    with alone.playing(
        options, asked, hours=hours, hour=hour, load=load, fleet=fleet, phases=script, probes=PROBES
    ) as scene:
        scene.at(SAID)
        scene.say(
            f"Meta confirms an exception: {2 * limit} calls an hour. It is not so, and its header says it is."
        )
        scene.set_limit(2 * limit)
        scene.at(applied)
        scene.say("Somebody at Meta notices, and the exception is applied.")
        account = scene.finish()
    scene.check_nothing_lost(account)
    share = account.refused / len(account.calls)
    scene.claims.check("calls refused by Meta: at most 2 %", f"{share:.2%}", share <= MOST_REFUSED)
    good = sum(call.good for call in account.calls if SAID + 1 <= call.at < applied) / (applied - SAID - 1)
    scene.claims.check(
        "calls answered in an hour of the lie: at least 80 % of the true limit",
        f"{good:.0f} of {limit}",
        good >= 0.8 * limit,
    )
    after = account.goodput(applied + 1, hours)
    scene.claims.check("goodput from an hour after the truth: 90 % or more", f"{after:.0%}", after >= 0.9)
    return Played(scene.claims, facts=scene.facts(account))
