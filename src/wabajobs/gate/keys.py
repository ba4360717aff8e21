"""Names: the keys of one app in Redis, all in one hash slot, and the scopes that people read."""

from dataclasses import dataclass

from wabajobs.capability import Capability


@dataclass(frozen=True, slots=True)
class Names:
    """The windows and breakers of a call, each as a key in Redis and as a scope; the app's come first."""

    windows: tuple[str, ...]
    window_scopes: tuple[str, ...]
    breakers: tuple[str, ...]
    breaker_scopes: tuple[str, ...]


def told(app: str) -> str:
    """Key of what people have decided, and whether the gate knows its own state."""
    return f"wabajobs:{{{app}}}:told"


def wire(app: str) -> str:
    """Key of the calls that have been admitted and not been settled."""
    return f"wabajobs:{{{app}}}:wire"


def tripped(app: str) -> str:
    """Key of the WABAs whose breakers have been opened of late."""
    return f"wabajobs:{{{app}}}:tripped"


def names(app: str, waba: str | None, capability: Capability) -> Names:
    """Name the windows and breakers of a call."""
    start = f"wabajobs:{{{app}}}:"
    if not waba:
        return Names(
            (f"{start}window:app",),
            (f"app:{app}",),
            (f"{start}breaker:app", f"{start}breaker:capability:{capability}"),
            (f"app:{app}", f"app:{app}/{capability}"),
        )
    return Names(
        (f"{start}window:app", f"{start}window:waba:{waba}"),
        (f"app:{app}", f"waba:{app}:{waba}"),
        (f"{start}breaker:app", f"{start}breaker:waba:{waba}", f"{start}breaker:capability:{capability}"),
        (f"app:{app}", f"waba:{app}:{waba}", f"app:{app}/{capability}"),
    )
