"""The retry budget: how many retries one part of the API gets from all operations together.

In any minute, at most a share of its first tries and a small number besides. So an outage costs few calls more
than there is work, however many operations want to try again. A retry that goes well takes nothing away: where
the service is well again, those that have waited follow each other quickly.

Its state is one small key for each app and capability, in the app's hash slot, counted in the minute that runs
and the one before.
Sources: Site Reliability Engineering (Google, 2016), chapter 21; the retry quota of the AWS SDKs.
"""

from collections.abc import Mapping
from typing import Any, Final

import redis

from wabajobs.capability import Capability
from wabajobs.clock import Clock
from wabajobs.gate.scripts import in_plain_words

_SOURCE: Final = """
local key, share, floor, tries, wanted = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local now = tonumber(ARGV[5])
if not now then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1e6
end
local minute = math.floor(now / 60)
local state = redis.call('HMGET', key, 'minute', 'tries', 'retries', 'tries_before', 'retries_before')
local seen = tonumber(state[1]) or 0
local count = {}
for i = 2, 5 do count[i - 1] = tonumber(state[i]) or 0 end
if seen == minute - 1 then
  count = {0, 0, count[1], count[2]}
elseif seen ~= minute then
  count = {0, 0, 0, 0}
end
local left = 1 - (now / 60 - minute)
count[1] = count[1] + tries
local allowed = floor + share * (count[1] + count[3] * left)
local used = count[2] + count[4] * left
local granted = wanted
if wanted > 0 then granted = math.max(0, math.min(wanted, math.floor(allowed - used))) end
count[2] = math.max(0, count[2] + granted)
redis.call('HSET', key, 'minute', minute, 'tries', count[1], 'retries', count[2],
  'tries_before', count[3], 'retries_before', count[4])
redis.call('EXPIRE', key, 180)
return granted
"""


class RetryBudget:
    """Counts first tries, and grants retries."""

    def __init__(self, client: redis.Redis, *, share: float, per_minute: int, clock: Clock | None = None) -> None:
        """Grant retries up to `share` of the first tries of a minute, and `per_minute` besides.

        The time is Redis's; a test's `clock` is asked instead.
        """
        self._client = client
        self._script = client.register_script(_SOURCE)
        self._share = share
        self._per_minute = per_minute
        self._clock = clock

    @property
    def rule(self) -> str:
        """What is granted, in words."""
        return f"{self._per_minute} a minute and {self._share:.0%} of the first tries"

    def note(self, tries: Mapping[tuple[str, Capability], int]) -> None:
        """Count first tries by app and capability. Raises `GateUnavailable`."""
        with in_plain_words(), self._client.pipeline(transaction=False) as pipe:
            for (app, capability), number in tries.items():
                self._ask(app, capability, tries=number, wanted=0, client=pipe)
            pipe.execute()

    def take(self, app: str, capability: Capability, wanted: int) -> int:
        """Take leave for retries; return how many may go, `wanted` at most. Raises `GateUnavailable`."""
        with in_plain_words():
            return int(self._ask(app, capability, tries=0, wanted=wanted))

    def give_back(self, app: str, capability: Capability) -> None:
        """Tell that a retry has gone well. Raises `GateUnavailable`."""
        with in_plain_words():
            self._ask(app, capability, tries=0, wanted=-1)

    def _ask(self, app: str, capability: Capability, *, tries: int, wanted: int, client: Any = None) -> Any:
        now = "" if self._clock is None else self._clock.now().timestamp()
        args = [self._share, self._per_minute, tries, wanted, now]
        return self._script(keys=[_key(app, capability)], args=args, client=client)


def _key(app: str, capability: Capability) -> str:
    return f"wabajobs:{{{app}}}:retries:{capability}"
