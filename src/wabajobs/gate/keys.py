"""Names: the keys of one app in Redis, all in one hash slot, and the scopes that people read."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from wabajobs.capability import Capability, ServiceClass
from wabajobs.gate.calls import Call, Quota


@dataclass(frozen=True, slots=True)
class Names:
    """The budgets and breakers that may apply, by the scopes that people read; the app's come first."""

    budgets: tuple[str, ...]
    breakers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shape(Names):
    """What calls of a kind have in common: all that the gate must know of one but its id."""

    text: bytes
    """As the gate's functions read it."""
    described: str
    """As a call on the wire is described after its id and its operation: the end of a JSON array."""


def told(app: str) -> str:
    """Key of what people have decided, and whether the gate knows its own state."""
    return f"wabajobs:{{{app}}}:told"


def wire(app: str) -> str:
    """Key of the calls that have been admitted and not been settled."""
    return f"wabajobs:{{{app}}}:wire"


def tripped(app: str) -> str:
    """Key of the WABAs and numbers whose breakers have been opened of late."""
    return f"wabajobs:{{{app}}}:tripped"


def spent(app: str, part: int) -> str:
    """Key of who has spent the app's budget in one part of the window."""
    return f"wabajobs:{{{app}}}:spent:{part}"


def app_scope(app: str) -> str:
    """The scope of a whole app."""
    return f"app:{app}"


def waba_scope(app: str, waba: str) -> str:
    """The scope of Meta's limit per app and WABA."""
    return f"waba:{app}:{waba}"


def capability_scope(app: str, capability: Capability) -> str:
    """The scope of one part of the API, for one app."""
    return f"app:{app}/{capability}"


def number_scope(number: str) -> str:
    """The scope of one phone number."""
    return f"number:{number}"


def shape(call: Call) -> Shape:
    """Name the budgets and breakers that may apply to a call, and the pauses that would cover it."""
    return _shape(
        call.app,
        call.queue,
        call.partner,
        call.capability,
        call.waba,
        call.number,
        call.of_number or call.number,
        call.quota,
        call.reads,
        call.service_class,
        call.cost,
    )


@lru_cache(maxsize=2048)
def _shape(  # noqa: PLR0917 - keywords would make the cache twice as slow
    app: str,
    queue: str,
    partner: str,
    capability: Capability,
    waba: str | None,
    number: str | None,
    of_number: str | None,
    quota: Quota | None,
    reads: bool,
    service_class: ServiceClass,
    cost: int,
) -> Shape:
    breakers, budgets = [app_scope(app)], [app_scope(app)]
    if waba:
        budgets.append(waba_scope(app, waba))
        breakers.append(waba_scope(app, waba))
    if number:
        breakers.append(number_scope(number))
    breakers.append(capability_scope(app, capability))
    # Those of partners and capabilities apply where somebody has set a limit for them.
    budgets += [f"partner:{partner}", f"capability:{capability}"]
    if waba:
        budgets.append(f"partner:{partner}/{waba}")
    if quota is Quota.TEMPLATE_CREATION and waba:
        budgets.append(f"{quota}:{waba}")
    elif quota is not None and number:
        budgets.append(f"{quota}:{number}")
    pauses = ["all", f"app:{app}", f"capability:{capability}", f"queue:{queue}", f"partner:{partner}"]
    pauses.append(f"partner:{partner}/{queue}")
    if waba:
        pauses.append(f"waba:{waba}")
    if of_number:
        pauses.append(f"number:{of_number}")
    asked = {
        "rank": service_class.rank,
        "place": 2 * service_class.rank + (not reads),
        "cost": cost,
        "has_waba": bool(waba),
        "has_number": bool(number),
        "spender": f"{queue}|{partner}|{waba or ''}|{capability}",
        "budgets": budgets,
        "breakers": breakers,
        "pauses": pauses,
    }
    return Shape(
        budgets=tuple(budgets),
        breakers=tuple(breakers),
        text=json.dumps(asked, ensure_ascii=False).encode(),
        described=json.dumps([app, capability, queue, partner, waba or "", cost, of_number or ""])[1:],
    )


def of_app(
    app: str, *, wabas: Iterable[str] = (), budgets: Iterable[str] = (), broken: Iterable[str] = ()
) -> Names:
    """Name the budgets and breakers by which people look at an app: its own, and those named."""
    return Names(
        tuple(dict.fromkeys([app_scope(app), *(waba_scope(app, waba) for waba in wabas), *budgets])),
        tuple(dict.fromkeys([app_scope(app), *(capability_scope(app, each) for each in Capability), *broken])),
    )
