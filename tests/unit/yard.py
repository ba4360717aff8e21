"""A dispatcher on a real ledger, among a gate, workers and a broker of our own."""

from dataclasses import dataclass, field, replace
from datetime import timedelta

from tests.support.fakes import FakeBroker, FakeGate, FakeLifelines, FakePresence, FakeRetryBudget
from tests.unit.conftest import APP, WABA, Bay
from wabajobs.capability import Capability, ServiceClass
from wabajobs.dispatcher.dispatch import Dispatcher
from wabajobs.dispatcher.retention import Pruner
from wabajobs.dispatcher.retries import Retries
from wabajobs.kinds import Catalogue, catalogue
from wabajobs.ledger import NewOperation
from wabajobs.operation import Operation
from wabajobs.outcome import Done
from wabajobs.partners import Partners
from wabajobs.settings import DispatchSettings, PartnerSettings, RetentionSettings

KIND = "template_sync"
SYNC = catalogue()[KIND]


@dataclass
class Yard:
    """A dispatcher among fakes, on a real ledger."""

    bay: Bay
    presence: FakePresence = field(default_factory=lambda: FakePresence({KIND: [4]}))
    lifelines: FakeLifelines = field(default_factory=FakeLifelines)
    gate: FakeGate = field(default_factory=FakeGate)
    broker: FakeBroker = field(default_factory=FakeBroker)
    retry_budget: FakeRetryBudget = field(default_factory=FakeRetryBudget)
    settings: DispatchSettings = field(default_factory=DispatchSettings)
    partners: dict[str, PartnerSettings] = field(default_factory=dict)
    moment: float = 0.0
    """Of the steady clock by which a dispatcher measures itself."""

    def __post_init__(self) -> None:
        self.kinds = Catalogue([SYNC, replace(SYNC, name="onboarding", coalesces=False)])
        self.dispatcher = self.another()

    def another(self) -> Dispatcher:
        return Dispatcher(
            ledger=self.bay.ledger,
            kinds=self.kinds,
            gate=self.gate,
            presence=self.presence,  # type: ignore[arg-type]
            lifelines=self.lifelines,  # type: ignore[arg-type]
            send=self.broker,
            clock=self.bay.clock,
            settings=self.settings,
            partners=Partners(self.bay.ledger, self.partners),
            retries=Retries(self.bay.ledger, self.retry_budget, self.settings),
            pruner=Pruner(self.bay.ledger, RetentionSettings(), clock=self.bay.clock),
            monotonic=lambda: self.moment,
        )

    def accept(self, number: int, *, kind: str = KIND, **changes: object) -> list[Operation]:
        facts = {
            "kind": kind,
            "partner": "acme",
            "app": APP,
            "waba": WABA,
            "service_class": ServiceClass.STANDARD,
            "capability": Capability.TEMPLATE_READS,
            "payload": {},
        }
        requests = [NewOperation(**(facts | changes)) for _ in range(number)]  # type: ignore[arg-type]
        return [one.operation for one in self.bay.ledger.operations.accept(requests, now=self.bay.clock.now())]

    def out(self) -> int:
        return sum(self.bay.ledger.operations.out().values())

    def release(self) -> list[Operation]:
        """Make one turn; return what was sent."""
        before = len(self.broker.sent)
        self.dispatcher.release_due()
        return self.broker.sent[before:]

    def finish(self, released: Operation) -> None:
        self.bay.ledger.operations.record(self.begin(released), Done(), worker="w", now=self.bay.clock.now())

    def begin(self, released: Operation) -> Operation:
        begun = self.bay.ledger.operations.begin(
            released.id,
            released.fence,
            worker="w",
            pauses=(),
            now=self.bay.clock.now(),
            lease=timedelta(seconds=15),
        )
        assert isinstance(begun, Operation)
        return begun
