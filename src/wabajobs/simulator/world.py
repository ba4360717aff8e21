"""What exists at Meta: apps, WABAs, numbers and templates, made from a seed and changed behind one's back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from wabajobs.simulator.config import SimulatorConfig
from wabajobs.simulator.templates import CATEGORIES, STATUSES, Template, invent

WORLD_EPOCH = 1_780_000_000
"""Unix time at which a new world is as its seed says; everything in it happened before."""

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_TEMPLATE_SLOTS = 100_000
_TEMPLATE_SCATTER = 7919


@dataclass(frozen=True, slots=True)
class App:
    """A Meta app with one system user's token."""

    id: str
    secret: str = field(repr=False)
    token: str = field(repr=False)


@dataclass(slots=True)
class Number:
    """A phone number of a WABA."""

    id: str
    display: str
    verified_name: str
    registered: bool


@dataclass(slots=True)
class Waba:
    """A WhatsApp Business Account. Its templates are invented when first looked at, the same every time."""

    id: str
    index: int
    name: str
    numbers: tuple[Number, ...]
    templates_at_first: int
    heavy_over: int | None
    templates: list[Template] | None = None
    made: int = 0

    @property
    def active(self) -> bool:
        """Whether a number is registered, which is what raises the quota."""
        return any(number.registered for number in self.numbers)


class World:
    """The apps and WABAs of one simulator. Methods may be called from any thread."""

    def __init__(
        self,
        config: SimulatorConfig,
        *,
        unix: Callable[[], float] = lambda: WORLD_EPOCH,
        lock: threading.RLock | None = None,
    ) -> None:
        self._config = config
        self._unix = unix
        self._lock = lock or threading.RLock()
        random = Random(config.seed)
        self.apps: tuple[App, ...] = tuple(_app(random) for _ in range(config.apps))
        self._tokens = {token: app for app in self.apps for token in (app.token, f"{app.id}|{app.secret}")}
        self._revoked: set[str] = set()
        self._taken: set[str] = {app.id for app in self.apps}
        self._wabas: dict[str, Waba] = {}
        self._number_owners: dict[str, Waba] = {}
        for index in range(config.wabas):
            self._add_waba(random, index)

    # What is there

    @property
    def waba_ids(self) -> list[str]:
        """The ids of all WABAs, in the order in which they were made."""
        return list(self._wabas)

    @property
    def number_ids(self) -> list[str]:
        """The ids of all phone numbers."""
        return list(self._number_owners)

    def waba(self, waba_id: str) -> Waba:
        """The WABA; KeyError when there is none."""
        return self._wabas[waba_id]

    def kind_of(self, object_id: str) -> str | None:
        """What an id in a path stands for, or nothing."""
        return "waba" if object_id in self._wabas else None

    def app_of(self, token: str) -> App | None:
        """Whose token it is; nobody's when it is unknown or revoked."""
        return None if token in self._revoked else self._tokens.get(token)

    def is_revoked(self, token: str) -> bool:
        return token in self._revoked

    def templates(self, waba_id: str) -> list[Template]:
        """The WABA's templates as they are now, in the order of the list."""
        with self._lock:
            return list(self.listed(self._wabas[waba_id]))

    def listed(self, waba: Waba) -> list[Template]:
        """The WABA's own list, for reading under the simulator's lock."""
        if waba.templates is None:
            random = Random(f"{self._config.seed}:{waba.id}")
            count = waba.templates_at_first
            waba.made = count
            waba.templates = [
                invent(random, id=_template_id(waba, n), number=n, before=WORLD_EPOCH) for n in range(count)
            ]
        return waba.templates

    # Changes behind one's back

    def add_template(
        self,
        waba_id: str,
        *,
        name: str,
        language: str = "en_US",
        status: str = "APPROVED",
        category: str = "UTILITY",
        components: Sequence[dict[str, Any]] | None = None,
    ) -> Template:
        """A new template at the end of the list."""
        _check_enum("status", status, STATUSES)
        _check_enum("category", category, CATEGORIES)
        with self._lock:
            waba = self._wabas[waba_id]
            listed = self.listed(waba)
            if any(other.name == name and other.language == language for other in listed):
                raise ValueError(f"WABA {waba_id} already has the template {name} in {language}")
            body = components or [{"type": "BODY", "text": "Thank you for your order."}]
            template = Template(
                id=_template_id(waba, waba.made),
                name=name,
                language=language,
                status=status,
                category=category,
                components=json.dumps(body, separators=(",", ":")),
                last_updated_time=int(self._unix()),
            )
            waba.made += 1
            listed.append(template)
            return template

    def remove_template(self, waba_id: str, template_id: str) -> Template:
        """Take the template out of the list; those behind it move up."""
        with self._lock:
            listed = self.listed(self._wabas[waba_id])
            return listed.pop(_place(listed, template_id))

    def edit_template(self, waba_id: str, template_id: str, **changes: Any) -> Template:
        """Change fields of the template (`components` as a list); its place in the list stays."""
        if "components" in changes:
            changes["components"] = json.dumps(changes["components"], separators=(",", ":"))
        if "status" in changes:
            _check_enum("status", changes["status"], STATUSES)
        if "category" in changes:
            _check_enum("category", changes["category"], CATEGORIES)
        with self._lock:
            listed = self.listed(self._wabas[waba_id])
            place = _place(listed, template_id)
            changes.setdefault("last_updated_time", int(self._unix()))
            listed[place] = replace(listed[place], **changes)
            return listed[place]

    def set_status(self, waba_id: str, template_id: str, status: str) -> Template:
        """Give the template another status, as a review or a quality pause would."""
        return self.edit_template(waba_id, template_id, status=status)

    def set_registered(self, number_id: str, registered: bool) -> None:
        """Register or deregister a number; the first and the last one move the WABA's quota."""
        with self._lock:
            for number in self._number_owners[number_id].numbers:
                if number.id == number_id:
                    number.registered = registered

    def set_heavy_over(self, waba_id: str, page: int | None) -> None:
        """Pages of this WABA larger than this are too much data; none: no page is."""
        with self._lock:
            self._wabas[waba_id].heavy_over = page

    def revoke_token(self, token: str) -> None:
        """From now on the token is refused, as after a password change."""
        with self._lock:
            self._revoked.add(token)

    def restore_token(self, token: str) -> None:
        """Undo `revoke_token`."""
        with self._lock:
            self._revoked.discard(token)

    # The making of it

    def _add_waba(self, random: Random, index: int) -> None:
        config = self._config
        name = f"Shop {index + 1}"
        active = index < config.wabas - config.inactive_wabas
        numbers = tuple(
            Number(
                id=self._fresh_id(random),
                display=f"+1 555-{random.randrange(10_000_000):07d}",
                verified_name=name,
                registered=active,
            )
            for _ in range(config.numbers)
        )
        spread = config.templates
        waba = Waba(
            id=self._fresh_id(random),
            index=index,
            name=name,
            numbers=numbers,
            templates_at_first=random.randint(*spread) if isinstance(spread, tuple) else spread,
            heavy_over=config.heavy_over,
        )
        self._wabas[waba.id] = waba
        self._number_owners.update((number.id, waba) for number in numbers)

    def _fresh_id(self, random: Random) -> str:
        while (candidate := str(random.randrange(10**14, 10**15))) in self._taken:
            pass
        self._taken.add(candidate)
        return candidate


def _app(random: Random) -> App:
    return App(
        id=str(random.randrange(10**14, 10**16)),
        secret=f"{random.getrandbits(128):032x}",
        token="EAA" + "".join(random.choices(_LETTERS, k=180)),
    )


def _template_id(waba: Waba, number: int) -> str:
    # Scattered, unique in the world, and computable before the WABA's templates are made.
    return str(10**15 + (waba.index * _TEMPLATE_SLOTS + number) * _TEMPLATE_SCATTER)


def _place(listed: list[Template], template_id: str) -> int:
    for place, template in enumerate(listed):
        if template.id == template_id:
            return place
    raise KeyError(template_id)


def _check_enum(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}")
