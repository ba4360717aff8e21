"""The world of one simulator: every object by its id, who may touch it, and how it was a while ago."""

from __future__ import annotations

import copy
import dataclasses
import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any, TypeVar

from wabajobs.simulator.agenda import Agenda
from wabajobs.simulator.config import SimulatorConfig
from wabajobs.simulator.world import accounts, numbers, signups, template_customers, template_life
from wabajobs.simulator.world.nodes import (
    Allocation,
    App,
    Business,
    Credit,
    Node,
    Number,
    Signup,
    SystemUser,
    Token,
    Waba,
)
from wabajobs.simulator.world.templates import (
    CATEGORIES,
    STATUSES,
    Template,
    index_in,
    invent,
    template_id,
)

WORLD_EPOCH = 1_780_000_000
"""Unix time at which a new world is as its seed says; everything in it happened before."""

SCOPES = ("business_management", "whatsapp_business_management", "whatsapp_business_messaging")
"""What a system user's token and a customer's may do."""

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_PAST_MOST = 50

N = TypeVar("N", bound=Node)


class World:
    """The apps, businesses, WABAs and all else. Methods may be called from any thread."""

    def __init__(
        self,
        config: SimulatorConfig,
        *,
        now: Callable[[], float] = lambda: 0.0,
        unix: Callable[[], float] = lambda: WORLD_EPOCH,
        agenda: Agenda | None = None,
        publish: Callable[..., None] = lambda *_, **__: None,
        lock: threading.RLock | None = None,
    ) -> None:
        self.config = config
        self.now = now
        """Simulated seconds since the start."""
        self.unix = unix
        """The simulated moment as Unix time."""
        self.agenda = agenda or Agenda()
        self.publish = publish
        """`publish(waba, field, value)`: sends a webhook to the apps that are subscribed."""
        self.undone: Callable[[str, str], None] = lambda *_: None
        """`undone(kind, subject)`: tells the judge that an effect of this kind may happen again."""
        self.lock = lock or threading.RLock()
        self.random = Random(f"world:{config.seed}")
        """For what is drawn while the simulator runs."""
        self.nodes: dict[str, Node] = {}
        """Every object by its id, but templates: their ids tell their WABA."""
        self.tokens: dict[str, Token] = {}
        self.revoked: set[str] = set()
        self.signups: dict[str, Signup] = {}
        """By code."""
        self.changed = 0
        """Counts the changes, so that who saves the world knows whether it must."""
        self.touched: set[str] = set()
        """Ids of the objects that were made or changed since somebody last took them out of here."""
        self.invented: dict[str, list[Template]] = {}
        """By WABA, the templates that it had at first, if anybody has looked; the seed makes them again."""
        self._wabas: dict[str, Waba] = {}
        self._by_index: list[Waba] = []
        self._past: dict[str, deque[tuple[float, Any]]] = {}
        self._make(Random(config.seed))
        self.touched.clear()
        accounts.prepare(self)
        numbers.prepare(self)
        template_life.prepare(self)
        template_customers.prepare(self)

    # What is there

    @property
    def waba_ids(self) -> list[str]:
        """The ids of all WABAs, in the order in which they were made."""
        return list(self._wabas)

    @property
    def number_ids(self) -> list[str]:
        """The ids of all phone numbers, in the order of their WABAs."""
        return [number.id for waba in self._wabas.values() for number in waba.numbers]

    def waba(self, waba_id: str) -> Waba:
        """The WABA; KeyError when there is none."""
        return self._wabas[waba_id]

    def node(self, object_id: str) -> Node | None:
        """The object of this id, or nothing."""
        found = self.nodes.get(object_id)
        return self._template(object_id) if found is None else found

    def waba_of(self, node: Node | None) -> Waba | None:
        """The WABA that an object is, or belongs to."""
        if isinstance(node, Waba):
            return node
        if isinstance(node, Template):
            return self._waba_of_template(node.id)
        waba_id = getattr(node, "waba_id", None)
        return self._wabas.get(waba_id) if waba_id else None

    def app_by_id(self, app_id: str) -> App | None:
        """The app, or nothing."""
        node = self.nodes.get(app_id)
        return node if isinstance(node, App) else None

    # Who may touch it

    def token(self, text: str) -> Token | None:
        """A token that is valid now; nothing when it is unknown, revoked or expired."""
        token = self.tokens.get(text)
        if token is None or text in self.revoked:
            return None
        return None if token.expires_at and self.unix() >= token.expires_at else token

    def app_of(self, text: str) -> App | None:
        """Whose token it is; nobody's when it is unknown, revoked or expired."""
        token = self.token(text)
        return self.app_by_id(token.app_id) if token else None

    def is_revoked(self, token: str) -> bool:
        return token in self.revoked

    def may(self, token: Token, node: Node | None, *, admin: bool = False) -> bool:
        """Whether a token reaches an object: its app's own things, or a WABA that it was granted or assigned.

        `admin`: for an endpoint by which a system user comes to be assigned.
        """
        if isinstance(node, App):
            return node.id == token.app_id
        if isinstance(node, SystemUser):
            return token.waba_ids is None
        if isinstance(node, Business) and token.waba_ids is not None:
            return any(self._wabas[waba_id].business_id == node.id for waba_id in token.waba_ids)
        waba = self.waba_of(node)
        if waba is None:
            return True
        if waba.gone and not isinstance(node, Allocation):
            return False
        if token.waba_ids is not None:
            return waba.id in token.waba_ids
        return admin or token.type == "APP" or token.user_id in waba.assigned

    def grant(self, token: Token) -> Token:
        """Let a token exist from now on."""
        with self.lock:
            self.tokens[token.text] = token
            self.changed += 1
            return token

    def revoke_token(self, token: str) -> None:
        """From now on the token is refused, as after a password change."""
        with self.lock:
            self.revoked.add(token)
            self.changed += 1

    def restore_token(self, token: str) -> None:
        """Undo `revoke_token`."""
        with self.lock:
            self.revoked.discard(token)
            self.changed += 1

    # Changes

    def add(self, node: N) -> N:
        """Let an object exist from now on."""
        self.changed += 1
        return self._keep(node)

    def change(self, node: N) -> N:
        """The object, to be changed now; how it was stays known for stale reads."""
        past = self._past.setdefault(node.id, deque(maxlen=_PAST_MOST))
        past.append((self.now(), copy.copy(node)))
        self.touched.add(node.id)
        self.changed += 1
        return node

    def seen(self, node: N, as_of: float | None) -> N:
        """The object as it was at a simulated second, as far back as is remembered; none: as it is."""
        if as_of is None or isinstance(node, Template | App):
            return node
        past: Iterable[tuple[float, N]] = self._past.get(getattr(node, "id", ""), ())
        return next((before for changed_at, before in past if changed_at > as_of), node)

    def fresh_id(self, random: Random | None = None) -> str:
        """An id that nobody has."""
        random = random or self.random
        while (candidate := str(random.randrange(10**14, 10**15))) in self.nodes:
            pass
        return candidate

    def fresh_text(self, length: int, random: Random | None = None) -> str:
        """Letters and digits that nobody guesses."""
        return "".join((random or self.random).choices(_LETTERS, k=length))

    # Templates

    def templates(self, waba_id: str) -> list[Template]:
        """The WABA's templates as they are now, in the order of the list."""
        with self.lock:
            return list(self.listed(self._wabas[waba_id]))

    def listed(self, waba: Waba) -> list[Template]:
        """The WABA's own list, for reading under the simulator's lock."""
        if waba.templates is None:
            random = Random(f"{self.config.seed}:{waba.id}")
            count = waba.templates_at_first
            waba.made = count
            waba.templates = [
                invent(random, id=template_id(waba.index, n), number=n, before=WORLD_EPOCH) for n in range(count)
            ]
            self.invented[waba.id] = waba.templates
        return waba.templates

    def put_template(self, waba: Waba, template: Template) -> Template:
        """Put a template in the place of the one with its id, or at the end of the list."""
        listed = self.listed(waba)
        self.change(waba)
        place = next((place for place, one in enumerate(listed) if one.id == template.id), None)
        waba.templates = (
            [*listed, template] if place is None else [*listed[:place], template, *listed[place + 1 :]]
        )
        return template

    def new_template_id(self, waba: Waba) -> str:
        """The id of the WABA's next template."""
        self.listed(waba)
        waba.made += 1
        self.touched.add(waba.id)
        return template_id(waba.index, waba.made - 1)

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
        """A new template at the end of the list, made behind one's back."""
        _check_enum("status", status, STATUSES)
        _check_enum("category", category, CATEGORIES)
        with self.lock:
            waba = self._wabas[waba_id]
            if any(other.name == name and other.language == language for other in self.listed(waba)):
                raise ValueError(f"WABA {waba_id} already has the template {name} in {language}")
            body = components or [{"type": "BODY", "text": "Thank you for your order."}]
            template = Template(
                id=self.new_template_id(waba),
                name=name,
                language=language,
                status=status,
                category=category,
                components=json.dumps(body, separators=(",", ":")),
                last_updated_time=int(self.unix()),
            )
            return self.put_template(waba, template)

    def remove_template(self, waba_id: str, template_id: str) -> Template:
        """Take the template out of the list; those behind it move up."""
        with self.lock:
            waba = self._wabas[waba_id]
            listed = self.listed(waba)
            place = _place(listed, template_id)
            self.change(waba)
            waba.templates = [*listed[:place], *listed[place + 1 :]]
            removed = listed[place]
            for kind in ("template_created", "template_migrated"):
                self.undone(kind, f"{waba.id}/{removed.name}/{removed.language}")
            return removed

    def edit_template(self, waba_id: str, template_id: str, **changes: Any) -> Template:
        """Change fields of the template (`components` as a list); its place in the list stays."""
        if "components" in changes:
            changes["components"] = json.dumps(changes["components"], separators=(",", ":"))
        if "status" in changes:
            _check_enum("status", changes["status"], STATUSES)
        if "category" in changes:
            _check_enum("category", changes["category"], CATEGORIES)
        with self.lock:
            waba = self._wabas[waba_id]
            listed = self.listed(waba)
            changes.setdefault("last_updated_time", int(self.unix()))
            return self.put_template(waba, replace(listed[_place(listed, template_id)], **changes))

    def set_status(self, waba_id: str, template_id: str, status: str) -> Template:
        """Give the template another status, as a review or a quality pause would."""
        return self.edit_template(waba_id, template_id, status=status)

    # Other changes behind one's back

    def signup(self, **choices: Any) -> Signup:
        """A customer finishes Embedded Signup; the choices are those of `signups.finish`."""
        with self.lock:
            return signups.finish(self, **choices)

    def set_registered(self, number_id: str, registered: bool) -> None:
        """Register or deregister a number; the first and the last one move the WABA's quota."""
        with self.lock:
            number = self.nodes.get(number_id)
            if not isinstance(number, Number):
                raise KeyError(number_id)
            self.change(number).registered = registered

    def set_heavy_over(self, waba_id: str, page: int | None) -> None:
        """Pages of this WABA larger than this are too much data; none: no page is."""
        with self.lock:
            self.change(self._wabas[waba_id]).heavy_over = page

    # The making of it

    def _make(self, random: Random) -> None:
        self.apps: tuple[App, ...] = tuple(self._make_app(random) for _ in range(self.config.apps))
        self.business = self._keep(Business(id=self.fresh_id(random), name="The partner"))
        """The partner's own portfolio."""
        self.credit = self._keep(
            Credit(id=self.fresh_id(random), business_id=self.business.id, name="The partner")
        )
        """The partner's line of credit."""
        assigned: dict[str, tuple[str, ...]] = {app.system_user_id: ("MANAGE",) for app in self.apps}
        subscribed: dict[str, str | None] = dict.fromkeys(app.id for app in self.apps)
        for index in range(self.config.wabas):
            active = index < self.config.wabas - self.config.inactive_wabas
            self.make_waba(random, active=active, assigned=assigned, subscribed=subscribed)

    def make_waba(
        self,
        random: Random,
        *,
        active: bool,
        assigned: dict[str, tuple[str, ...]],
        subscribed: dict[str, str | None],
        numbers: int | None = None,
        templates: int | None = None,
        funded: bool = True,
        name: str | None = None,
        business: Business | None = None,
        created_at: int = 0,
    ) -> Waba:
        """A WABA with its numbers, and its business unless there is one, as the config says."""
        config, index = self.config, len(self._by_index)
        name = name or f"Shop {index + 1}"
        waba_id = self.fresh_id(random)
        business = business or self._keep(Business(id=self.fresh_id(random), name=name))
        spread = config.templates if templates is None else templates
        waba = Waba(
            id=waba_id,
            index=index,
            name=name,
            numbers=tuple(
                self._make_number(random, waba_id=waba_id, name=name, active=active)
                for _ in range(config.numbers if numbers is None else numbers)
            ),
            templates_at_first=random.randint(*spread) if isinstance(spread, tuple) else spread,
            heavy_over=config.heavy_over,
            business_id=business.id,
            assigned=assigned,
            subscribed=subscribed,
            template_namespace=f"{random.getrandbits(128):032x}",
            created_at=created_at,
        )
        if funded:
            allocation = self._keep(
                Allocation(
                    id=self.fresh_id(random),
                    credit_id=self.credit.id,
                    business_id=business.id,
                    waba_id=waba_id,
                )
            )
            allocation.credential_id = self.fresh_id(Random(allocation.id))
            waba.funding_id = allocation.credential_id
        self._wabas[waba_id] = waba
        self._by_index.append(waba)
        return self._keep(waba)

    def _make_number(self, random: Random, *, waba_id: str, name: str, active: bool) -> Number:
        national = f"555{random.randrange(10_000_000):07d}"
        return self._keep(
            Number(
                id=self.fresh_id(random),
                waba_id=waba_id,
                display=f"+1 {national[:3]}-{national[3:]}",
                national=national,
                verified_name=name,
                registered=active,
                code_status="VERIFIED" if active else "NOT_VERIFIED",
                pin=f"{random.randrange(1_000_000):06d}" if active else None,
                platform="CLOUD_API" if active else "NOT_APPLICABLE",
            )
        )

    def _make_app(self, random: Random) -> App:
        app = App(
            id=str(random.randrange(10**14, 10**16)),
            secret=f"{random.getrandbits(128):032x}",
            token="EAA" + self.fresh_text(180, random),
            system_user_id=self.fresh_id(random),
        )
        for text, kind in ((app.token, "SYSTEM_USER"), (f"{app.id}|{app.secret}", "APP")):
            self.tokens[text] = Token(
                text=text,
                app_id=app.id,
                type=kind,
                user_id=app.system_user_id if kind == "SYSTEM_USER" else "",
                scopes=SCOPES,
                issued_at=WORLD_EPOCH,
            )
        self._keep(SystemUser(id=app.system_user_id, name=f"System user of {app.id}"))
        return self._keep(app)

    def _keep(self, node: N) -> N:
        self.nodes[node.id] = node
        self.touched.add(node.id)
        return node

    # Kept across a restart

    def put_back(self, node: Node) -> None:
        """Let an object be as it was saved: in the place of the one with its id, or beside the others.

        WABAs that the seed does not make must come in the order in which they were made.
        """
        there = self.nodes.get(node.id)
        if there is None:
            self.nodes[node.id] = there = node
            if isinstance(node, Waba):
                self._wabas[node.id] = node
                self._by_index.append(node)
        elif there != node:
            # In place, because others hold it too: a WABA its numbers.
            for one in dataclasses.fields(node):
                setattr(there, one.name, getattr(node, one.name))
        self.touched.add(node.id)

    # Where templates are

    def _waba_of_template(self, object_id: str) -> Waba | None:
        index = index_in(object_id)
        return self._by_index[index] if index is not None and index < len(self._by_index) else None

    def _template(self, object_id: str) -> Template | None:
        waba = self._waba_of_template(object_id)
        if waba is None:
            return None
        return next((one for one in self.listed(waba) if one.id == object_id), None)

    def __iter__(self) -> Iterator[Waba]:
        return iter(list(self._wabas.values()))


def _place(listed: list[Template], object_id: str) -> int:
    for place, template in enumerate(listed):
        if template.id == object_id:
            return place
    raise KeyError(object_id)


def _check_enum(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}")
