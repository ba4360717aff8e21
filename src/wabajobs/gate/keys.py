"""Names: the keys of one app in Redis, all in one hash slot, and the scopes that people read."""

from collections.abc import Iterable
from dataclasses import dataclass

from wabajobs.capability import Capability
from wabajobs.gate.calls import Call, Quota


@dataclass(frozen=True, slots=True)
class Names:
    """The budgets and breakers that may apply to a call, by the scopes that people read; the app's come first."""

    app: str
    budgets: tuple[str, ...]
    breakers: tuple[str, ...]
    pauses: tuple[str, ...] = ()
    """The scopes of pauses that would cover the call."""

    @property
    def decisions(self) -> list[str]:
        """Fields of `told` in which people may have decided something about the call."""
        return [
            *(f"pause:{scope}" for scope in self.pauses),
            *(f"limit:{scope}" for scope in self.budgets),
            *(f"breaker:{scope}" for scope in self.breakers),
        ]

    @property
    def windows(self) -> list[str]:
        """Keys of the budgets' rolling windows."""
        return [window(self.app, scope) for scope in self.budgets]

    @property
    def breaker_keys(self) -> list[str]:
        """Keys of the breakers."""
        return [breaker(self.app, scope) for scope in self.breakers]


def told(app: str) -> str:
    """Key of what people have decided, and whether the gate knows its own state."""
    return f"wabajobs:{{{app}}}:told"


def wire(app: str) -> str:
    """Key of the calls that have been admitted and not been settled."""
    return f"wabajobs:{{{app}}}:wire"


def tripped(app: str) -> str:
    """Key of the WABAs and numbers whose breakers have been opened of late."""
    return f"wabajobs:{{{app}}}:tripped"


def inactive(app: str) -> str:
    """Key of the WABAs that are known to have no registered number, and so Meta's small limit."""
    return f"wabajobs:{{{app}}}:inactive"


def window(app: str, scope: str) -> str:
    """Key of a budget's rolling window."""
    return f"wabajobs:{{{app}}}:window:{scope}"


def breaker(app: str, scope: str) -> str:
    """Key of a breaker."""
    return f"wabajobs:{{{app}}}:breaker:{scope}"


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


def names(call: Call) -> Names:
    """Name the budgets and breakers that may apply to a call.

    Those of partners and capabilities apply where somebody has set a limit for them.
    """
    app, waba, number = call.app, call.waba, call.number
    in_capability = capability_scope(app, call.capability)
    breakers = [app_scope(app)]
    budgets = [app_scope(app)]
    if waba:
        budgets.append(waba_scope(app, waba))
        breakers.append(waba_scope(app, waba))
    if number:
        breakers.append(number_scope(number))
    breakers.append(in_capability)
    budgets += [f"partner:{call.partner}", f"capability:{call.capability}"]
    if waba:
        budgets.append(f"partner:{call.partner}/{waba}")
    if call.quota is Quota.TEMPLATE_CREATION and waba:
        budgets.append(f"{call.quota}:{waba}")
    elif call.quota is not None and number:
        budgets.append(f"{call.quota}:{number}")
    pauses = [
        "all",
        f"app:{app}",
        f"capability:{call.capability}",
        f"queue:{call.queue}",
        f"partner:{call.partner}",
    ]
    if waba:
        pauses.append(f"waba:{waba}")
    return Names(app, tuple(budgets), tuple(breakers), tuple(pauses))


def of_app(
    app: str, *, wabas: Iterable[str] = (), budgets: Iterable[str] = (), broken: Iterable[str] = ()
) -> Names:
    """Name the budgets and breakers by which people look at an app: its own, and those named."""
    return Names(
        app,
        tuple(dict.fromkeys([app_scope(app), *(waba_scope(app, waba) for waba in wabas), *budgets])),
        tuple(dict.fromkeys([app_scope(app), *(capability_scope(app, each) for each in Capability), *broken])),
    )
