"""Meta in a drill: the simulator as a process, its world made ready for all that will be asked for.

`python -m wabajobs.drills.meta PLAN.json`. The plan has `knobs` of the simulator, the size of the `fleet`, and
how many of each sort will be asked for (`needs`). The first line it prints is what both sides must know, in JSON.
Made of the same plan, two of them have the same ids.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from wabajobs.simulator import Simulator, SimulatorConfig
from wabajobs.simulator.control.numbers import change_numbers
from wabajobs.simulator.world import Waba

PASSWORD: Final = "correct horse"  # noqa: S105 (of a backup that holds nothing)
DESTINATIONS: Final = 4
"""WABAs into which templates of the first of the fleet are copied, again and again."""


def prepared(plan: Mapping[str, Any]) -> tuple[Simulator, dict[str, Any]]:
    """Return a simulator, and what there is for each sort of request: one thing for each of them."""
    needs, fleet = plan["needs"], plan["fleet"]
    parts = {
        "fleet": fleet,
        "destinations": DESTINATIONS if needs.get("template_migration") else 0,
        "hosting": needs.get("hosting_change", 0),
        "registrations": needs.get("number_registration", 0),
    }
    knobs = {**plan["knobs"], "wabas": sum(parts.values()), "inactive_wabas": parts["registrations"]}
    simulator = Simulator(SimulatorConfig.model_validate(knobs))
    wabas = iter([simulator.world.waba(waba) for waba in simulator.world.waba_ids])
    of = {name: [next(wabas) for _ in range(number)] for name, number in parts.items()}
    for waba in of["destinations"]:
        simulator.world.change(waba).business_id = of["fleet"][0].business_id
    return simulator, {
        "fleet": [_thing(waba) for waba in of["fleet"]],
        "destinations": [_thing(waba) for waba in of["destinations"]],
        "hosting_change": [_on_premises(simulator, waba) for waba in of["hosting"]],
        "number_registration": [_verified(simulator, waba) for waba in of["registrations"]],
        "onboarding": [_signed_up(simulator) for _ in range(needs.get("onboarding", 0))],
        "template_edit": _editable(simulator, of["fleet"], needs.get("template_edit", 0)),
    }


def _thing(waba: Waba, **more: Any) -> dict[str, Any]:
    return {"waba": waba.id, "number": waba.numbers[0].id if waba.numbers else "", **more}


def _on_premises(simulator: Simulator, waba: Waba) -> dict[str, Any]:
    number = waba.numbers[0].id
    for action in ("on_premises", "two_step_off"):
        change_numbers(simulator, {"action": action, "number": number})
    backup = change_numbers(simulator, {"action": "back_up", "number": number, "value": PASSWORD})
    return _thing(waba, data=backup["settings"]["data"], password=PASSWORD)


def _verified(simulator: Simulator, waba: Waba) -> dict[str, Any]:
    change_numbers(simulator, {"action": "verify", "number": waba.numbers[0].id})
    return _thing(waba)


def _signed_up(simulator: Simulator) -> dict[str, Any]:
    signup = simulator.world.signup()
    return {"waba": signup.waba_id, "number": signup.number_id, "code": signup.code}


def _editable(simulator: Simulator, fleet: list[Waba], number: int) -> list[dict[str, Any]]:
    """Approved templates, from one WABA after the other: each is edited once."""
    lists = [
        [
            _thing(waba, template=one.id, name=one.name)
            for one in simulator.world.listed(waba)
            if one.status == "APPROVED" and one.category != "AUTHENTICATION"
        ]
        for waba in fleet
    ]
    in_turn = [
        one[place] for place in range(max(map(len, lists), default=0)) for one in lists if place < len(one)
    ]
    return in_turn[:number]


def main() -> None:
    """Serve until a signal."""
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    simulator, things = prepared(plan)

    def announce() -> None:
        sys.stdout.write(json.dumps({**simulator.facts(), "things": things}) + "\n")
        sys.stdout.flush()

    simulator.serve(port=0, started=announce)


if __name__ == "__main__":
    main()
