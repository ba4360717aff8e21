"""Components of the status page: for which operations each of them stands."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from wabajobs.capability import Capability
from wabajobs.errors import ConfigurationError
from wabajobs.kinds import Catalogue, Kind

_PREPARES: Final = frozenset({Capability.UPLOADS})
"""What an operation needs only for the sake of something else."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Operations of one kind that need the same of the Graph API, and so stop and go on together."""

    kind: str
    needs: frozenset[Capability]
    also: Capability | None = None
    """What not every operation of the kind needs, but these do: uploads, for a template with a file."""

    @property
    def name(self) -> str:
        """How it is written in the settings: `template_create`, `template_create/uploads`."""
        return self.kind if self.also is None else f"{self.kind}/{self.also}"


@dataclass(frozen=True)
class Component:
    """A line of the status page."""

    name: str
    parts: tuple[Part, ...]


def parts_of(kind: Kind) -> tuple[Part, ...]:
    """Return the parts of a kind: what all of its operations need, and what only some of them need besides."""
    everything = {step.capability for step in kind.steps if step.capability}
    core = {step.capability for step in kind.steps if step.capability and step.is_always_there}
    if not core and len(everything - _PREPARES) == 1:
        core = everything - _PREPARES  # one of several steps does the work, whichever is asked for
    some = sorted(everything - core)
    parts = [Part(kind=kind.name, needs=frozenset(core))] if core else []
    return (*parts, *(Part(kind=kind.name, needs=frozenset(core | {each}), also=each) for each in some))


def components(table: Mapping[str, Sequence[str]], kinds: Catalogue) -> tuple[Component, ...]:
    """Read the settings' table. Raises `ConfigurationError` that names what there is no operation for."""
    parts = [part for name in kinds.names for part in parts_of(kinds[name])]
    exact = {written for names in table.values() for written in names if "/" in written}
    return tuple(Component(name, tuple(_named(name, written, parts, exact))) for name, written in table.items())


def _named(component: str, written: Sequence[str], parts: Sequence[Part], exact: set[str]) -> Iterable[Part]:
    for pattern in written:
        if not any(_matches(pattern, part) for part in parts):
            known = ", ".join(part.name for part in parts)
            raise ConfigurationError(
                f"status_page.components: {component!r}: there are no operations {pattern!r}; there are: {known}"
            )
    for part in parts:
        meant = exact.intersection(written) if part.name in exact else written
        if any(_matches(pattern, part) for pattern in meant):
            yield part


def _matches(pattern: str, part: Part) -> bool:
    return part.name == pattern if "/" in pattern else fnmatchcase(part.kind, pattern)
