"""The catalogue of kinds: one file and one line each. Modules named in the settings add their own."""

from collections.abc import Iterable
from importlib import import_module
from typing import Final

from wabajobs.errors import ConfigurationError, InvalidRequest
from wabajobs.kinds import (
    channel_update,
    flow_publish,
    hosting_change,
    number_migration,
    number_registration,
    onboarding,
    profile_photo,
    profile_update,
    template_create,
    template_delete,
    template_edit,
    template_migration,
    template_sync,
)
from wabajobs.kinds.kind import Kind, NoPayload, PlannedCall, Step
from wabajobs.kinds.work import Graph, Media, Method, Templates, Work

_OURS: Final = (
    channel_update.KIND,
    flow_publish.KIND,
    hosting_change.KIND,
    number_migration.KIND,
    number_registration.KIND,
    onboarding.KIND,
    profile_photo.KIND,
    profile_update.KIND,
    template_create.KIND,
    template_delete.KIND,
    template_edit.KIND,
    template_migration.KIND,
    template_sync.KIND,
)


class Catalogue:
    """The kinds there are, by name."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        """Know these kinds. Raises `ConfigurationError` when two have the same name."""
        self._kinds: dict[str, Kind] = {}
        for kind in kinds:
            if self._kinds.setdefault(kind.name, kind) is not kind:
                raise ConfigurationError(f"kinds: there are two of the name {kind.name!r}")

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, which are their queues."""
        return tuple(self._kinds)

    def __getitem__(self, name: str) -> Kind:
        """Return a kind. Raises `InvalidRequest` that names those there are."""
        if name not in self._kinds:
            raise InvalidRequest(f"there is no kind {name!r}; there are: {', '.join(self._kinds)}")
        return self._kinds[name]


def catalogue(modules: Iterable[str] = ()) -> Catalogue:
    """Return our own kinds and the `KIND` of each module. Raises `ConfigurationError`."""
    return Catalogue([*_OURS, *map(_load, modules)])


def own_names(modules: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the kinds in these modules. Raises `ConfigurationError`."""
    return tuple(_load(module).name for module in modules)


def _load(name: str) -> Kind:
    try:
        module = import_module(name)
    except ImportError as error:
        raise ConfigurationError(f"kinds: module {name!r} cannot be imported ({error})") from None
    kind = getattr(module, "KIND", None)
    if not isinstance(kind, Kind):
        raise ConfigurationError(f"kinds: module {name!r} has no `KIND` that is a Kind")
    return kind


__all__ = [
    "Catalogue",
    "Graph",
    "Kind",
    "Media",
    "Method",
    "NoPayload",
    "PlannedCall",
    "Step",
    "Templates",
    "Work",
    "catalogue",
    "own_names",
]
