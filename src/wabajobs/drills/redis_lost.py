"""`wabajobs drill redis-lost`: in the middle of an incident Redis is gone, with all that it knew.

A queue is paused, Meta's limit is low, operations lie in the broker: and the server ends without a word, its data
deleted.
"""

from typing import Final

from wabajobs.drills import alone, arrivals, judging
from wabajobs.drills.drill import Options, Played
from wabajobs.drills.judging import Limited

QUEUE: Final = "flow_publish"


def play(options: Options) -> Played:
    """Play it."""
    hour, load = alone.pace(options)
    fleet = round(alone.FLEET * load)
    paused, begins, lost, ends, resumed, hours = 1.0, 2.0, 5.0, 9.0, 11.0, 16.0
    asked = arrivals.ordinary(hours=hours, fleet=fleet, seed=options.seed, load=load)
    script = [alone.phase("the limit is too low", begins, ends, limits={"app_limit": round(190 * load)})]
    with alone.playing(options, asked, hours=hours, hour=hour, load=load, fleet=fleet, phases=script) as scene:
        scene.at(paused)
        paused = scene.pause(QUEUE)
        scene.at(begins)
        scene.say("Meta's limit falls below what is asked for.")
        scene.at(lost)
        scene.say("Redis ends without a word, and comes back empty: no gate, no broker, no presence.")
        scene.site.lose_redis()
        scene.at(ends)
        scene.say("Meta is well again.")
        scene.at(resumed)
        resumed = scene.resume(QUEUE)
        account = scene.finish()
    scene.check_nothing_lost(account)
    made = sum(call.capability == "flows" and paused <= call.at < resumed for call in account.calls)
    scene.claims.check("calls of the paused queue, Redis lost or not: none", f"{made}", made == 0)
    limited = [Limited(begins, ends)]
    close = judging.too_close(account, limited, interval=0.9 * alone.interval(), wire=alone.WIRE / hour)
    # To have lost one's memory may cost one call to find out.
    scene.claims.check("probes sooner than the interval: at most one, to learn anew", f"{close}", close <= 1)
    relapses = judging.relapses(account, limited, grace=0.5)
    scene.claims.check("calls refused after Meta's recovery: none", f"{relapses}", relapses == 0)
    twice = scene.duplicates
    scene.claims.check("effects that happened twice: none", f"{twice}", twice == 0)
    return Played(scene.claims, facts=scene.facts(account))
