"""What the simulator's judge saw of a client."""

from __future__ import annotations

from wabajobs.simulator import Simulator


class Wire:
    """The calls as they arrived, whatever the client says that it did."""

    def __init__(self, simulator: Simulator) -> None:
        self._judge = simulator.judge
        self._seen = 0
        self._effects = 0

    def seen(self) -> list[str]:
        """The calls since the last look, such as `POST 123/register`; a failed one with its status and code."""
        calls = self._judge.calls(after=self._seen)
        self._seen = calls[-1].seq if calls else self._seen
        return [
            f"{call.method} {_words(call.path)}" + ("" if call.status == 200 else f" {call.status}/{call.code}")
            for call in calls
        ]

    def effects(self) -> list[str]:
        """What the calls since the last look have done, such as `number_registered`."""
        effects = self._judge.effects.all(after=self._effects)
        self._effects = effects[-1].seq if effects else self._effects
        return [effect.kind for effect in effects]


def _words(path: str) -> str:
    parts = [part for part in path.split("/") if part]
    if parts and parts[0].startswith("v"):
        parts = parts[1:]
    # The id of an upload is a secret of its own length.
    return "/".join("upload" if part.startswith("upload:") else part for part in parts)
