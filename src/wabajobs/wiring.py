"""The only place that turns settings into real objects. Everything is made when it is first needed."""

import os
import socket
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from wabajobs.bench import Bench
from wabajobs.callbacks import HttpPost, Relay
from wabajobs.capability import ServiceClass
from wabajobs.clock import Clock, SystemClock
from wabajobs.controls import Controls
from wabajobs.dispatcher.dispatch import Dispatcher, Send
from wabajobs.dispatcher.retention import Pruner
from wabajobs.dispatcher.retries import Retries
from wabajobs.dry_run import DryRun
from wabajobs.errors import ConfigurationError
from wabajobs.exposed import Editor, Looker
from wabajobs.gate import Gate, RetryBudget
from wabajobs.graph import Credentials, GraphClient
from wabajobs.incidents.alarms import Alarms
from wabajobs.incidents.book import Incidents
from wabajobs.incidents.chronicle import Chronicle
from wabajobs.incidents.watch import Watch
from wabajobs.intake import Request, checked
from wabajobs.interventions import Interventions
from wabajobs.kinds import Catalogue, catalogue
from wabajobs.leases import Leases
from wabajobs.ledger import Database, Ledger
from wabajobs.operation import Operation
from wabajobs.partners import Partners
from wabajobs.planner import Planner
from wabajobs.ramp import Ramps
from wabajobs.routing import Router
from wabajobs.secret import Secret
from wabajobs.seeing.explain import Explainer
from wabajobs.seeing.forecast import Forecast
from wabajobs.seeing.holdups import Holdups
from wabajobs.seeing.status import Lookout
from wabajobs.seeing.top import Spenders
from wabajobs.settings import Settings
from wabajobs.signals import Bell, Lifeline, Lifelines, Presence, Told
from wabajobs.signals.bell import DECISIONS, WORK
from wabajobs.vault import Vault

_RING_SECONDS = 0.25
"""How long a ring may take. It is a courtesy: who enqueues must not wait for a Redis that is away."""


class House:
    """The parts of the product, put together according to the settings."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        """Nothing is opened yet."""
        self.settings = settings
        self.clock: Clock = clock or SystemClock()

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger."""
        return Ledger(Database(self.settings.database))

    @cached_property
    def kinds(self) -> Catalogue:
        """The kinds."""
        return catalogue(self.settings.kinds)

    @cached_property
    def gate(self) -> Gate:
        """The gate."""
        redis = self._redis(self.settings.gate.redis_timeout_seconds)
        return Gate(redis, settings=self.settings.gate, apps=self.settings.apps)

    @cached_property
    def chronicle(self) -> Chronicle:
        """What writes down what was seen."""
        return Chronicle(self.ledger.happenings.put, clock=self.clock)

    @cached_property
    def retry_budget(self) -> RetryBudget:
        """The retry budget."""
        redis = self._redis(self.settings.gate.redis_timeout_seconds)
        rules = self.settings.dispatch
        return RetryBudget(redis, share=rules.retry_share, per_minute=rules.retries_per_minute)

    @cached_property
    def graph(self) -> GraphClient:
        """The Graph client."""
        return GraphClient(
            base_url=self.settings.graph_url,
            version=self.settings.graph_version,
            settings=self.settings.graph,
            credentials=self._credentials,
        )

    @cached_property
    def presence(self) -> Presence:
        """The list of living workers."""
        return Presence(
            self._redis(self.settings.gate.redis_timeout_seconds),
            alive_for=timedelta(seconds=self.settings.dispatch.worker_alive_seconds),
        )

    @cached_property
    def lifelines(self) -> Lifelines:
        """What looks whose lines are cut."""
        return Lifelines(
            self._redis(self.settings.gate.redis_timeout_seconds),
            gone_after=timedelta(seconds=self.settings.dispatch.gone_seconds),
        )

    def lifeline(self, name: str) -> Lifeline:
        """Return the line that tells others that the process of this name is there."""
        return Lifeline(self._redis(self.settings.gate.redis_timeout_seconds), name=name)

    @cached_property
    def holdups(self) -> Holdups:
        """What looks what is held, and why."""
        return Holdups(
            ledger=self.ledger,
            gate=self.gate,
            presence=self.presence,
            kinds=self.kinds,
            clock=self.clock,
            settings=self.settings.dispatch,
        )

    @cached_property
    def told(self) -> Told:
        """What Flower has been told of as held."""
        return Told(self._redis(self.settings.gate.redis_timeout_seconds))

    @cached_property
    def work_bell(self) -> Bell:
        """The bell that wakes the dispatcher."""
        return Bell(self._redis(_RING_SECONDS), WORK)

    @cached_property
    def decision_bell(self) -> Bell:
        """The bell that says that somebody has decided something."""
        return Bell(self._redis(_RING_SECONDS), DECISIONS)

    @cached_property
    def controls(self) -> Controls:
        """The switches."""
        return Controls(
            ledger=self.ledger,
            gate=self.gate,
            bell=self.decision_bell,
            clock=self.clock,
            kinds=lambda: self.kinds,
            ramps=self.ramps,
        )

    @cached_property
    def ramps(self) -> Ramps:
        """What lets the paused go on little by little."""
        return Ramps(
            ledger=self.ledger,
            gate=self.gate,
            kinds=lambda: self.kinds,
            settings=self.settings,
            clock=self.clock,
        )

    @cached_property
    def interventions(self) -> Interventions:
        """What people do with operations."""
        return Interventions(ledger=self.ledger, bell=self.work_bell, clock=self.clock, vault=self.vault)

    @cached_property
    def dry_run(self) -> DryRun:
        """What looks ahead."""
        return DryRun(
            ledger=self.ledger,
            gate=self.gate,
            presence=self.presence,
            kinds=self.kinds,
            vault=self.vault,
            settings=self.settings,
            clock=self.clock,
        )

    @cached_property
    def forecast(self) -> Forecast:
        """What says how long things take, and what a pause would touch."""
        return Forecast(
            ledger=self.ledger,
            gate=self.gate,
            presence=self.presence,
            kinds=self.kinds,
            settings=self.settings,
            clock=self.clock,
        )

    @cached_property
    def explainer(self) -> Explainer:
        """What says why an operation is not done."""
        return Explainer(
            ledger=self.ledger,
            gate=self.gate,
            presence=self.presence,
            kinds=self.kinds,
            settings=self.settings,
            clock=self.clock,
        )

    @cached_property
    def spenders(self) -> Spenders:
        """What says who used the budgets."""
        return Spenders(ledger=self.ledger, gate=self.gate, settings=self.settings, clock=self.clock)

    @cached_property
    def lookout(self) -> Lookout:
        """What looks at everything at once."""
        return Lookout(
            ledger=self.ledger,
            gate=self.gate,
            presence=self.presence,
            kinds=self.kinds,
            settings=self.settings,
            clock=self.clock,
            forecast=self.forecast,
            spenders=self.spenders,
        )

    @cached_property
    def vault(self) -> Vault:
        """The vault."""
        return Vault(records=self.ledger.secrets, settings=self.settings.vault, clock=self.clock)

    @cached_property
    def router(self) -> Router:
        """What takes operations from one app to another."""
        return Router(self.ledger, self.kinds, self.settings, clock=self.clock)

    @cached_property
    def planner(self) -> Planner:
        """The planner of the fleet's syncs."""
        return Planner(
            ledger=self.ledger,
            kinds=self.kinds,
            gate=self.gate,
            presence=self.presence,
            clock=self.clock,
            settings=self.settings,
            router=self.router,
        )

    @cached_property
    def looker(self) -> Looker:
        """What looks at everything for the feeds."""
        return Looker(
            ledger=self.ledger,
            gate=self.gate,
            presence=self.presence,
            kinds=self.kinds,
            settings=self.settings,
            clock=self.clock,
        )

    @cached_property
    def editor(self) -> Editor:
        """What tells the public of it."""
        return Editor(self.settings.status_page, self.kinds, now=self.clock.now())

    @cached_property
    def relay(self) -> Relay:
        """What calls the Hub for each event."""
        settings = self.settings.callbacks
        return Relay(
            self.ledger,
            settings,
            post=HttpPost(settings, self._callback_secret, self.clock),
            clock=self.clock,
            lasting=timedelta(seconds=self.settings.dispatch.leader_seconds),
        )

    @cached_property
    def incidents(self) -> Incidents:
        """What people do with incidents."""
        return Incidents(ledger=self.ledger, clock=self.clock, settings=self.settings)

    @cached_property
    def watch(self) -> Watch:
        """What looks, keeps what it sees, and opens incidents."""
        return Watch(
            ledger=self.ledger,
            gate=self.gate,
            presence=self.presence,
            queues=lambda: self.kinds.names,
            settings=self.settings,
            clock=self.clock,
            channels=self.alarms.channels,
        )

    @cached_property
    def alarms(self) -> Alarms:
        """What wakes people."""
        return Alarms(
            self.ledger,
            self.settings.watch,
            clock=self.clock,
            lasting=timedelta(seconds=self.settings.dispatch.leader_seconds),
            secret=self._alarm_secret,
        )

    def dispatcher(self, send: Send) -> Dispatcher:
        """Return a dispatcher that publishes through `send`."""
        return Dispatcher(
            ledger=self.ledger,
            kinds=self.kinds,
            gate=self.gate,
            presence=self.presence,
            lifelines=self.lifelines,
            send=send,
            clock=self.clock,
            settings=self.settings.dispatch,
            partners=Partners(self.ledger, self.settings.partners),
            retries=Retries(self.ledger, self.retry_budget, self.settings.dispatch),
            pruner=Pruner(self.ledger, self.settings.retention, clock=self.clock),
        )

    def bench(self, *queues: str) -> Bench:
        """Return what the attempts of a worker process work with that serves these queues."""
        return Bench(
            ledger=self.ledger,
            gate=self.gate,
            client=self.graph,
            kinds=self.kinds,
            leases=Leases(
                self.ledger,
                clock=self.clock,
                lease=timedelta(seconds=self.settings.dispatch.attempt_lease_seconds),
                renew_every=timedelta(seconds=self.settings.dispatch.renew_seconds),
            ),
            settings=self.settings,
            clock=self.clock,
            vault=self.vault,
            worker=_worker_name(queues),
            enqueue=self._enqueue,
            retry_budget=self.retry_budget,
            tell=self.chronicle.tell,
        )

    def _callback_secret(self) -> Secret:
        if self.settings.callbacks.secret is None:
            raise ConfigurationError("callbacks: say what they are signed with, [callbacks] secret")
        return self.vault.read(self.settings.callbacks.secret, what="secret of the callbacks")

    def _alarm_secret(self) -> Secret | None:
        source = self.settings.watch.alarm_secret
        return self.vault.read(source, what="secret of the alarms") if source else None

    def _credentials(self, app_id: str) -> Credentials:
        app = self.settings.app(app_id)
        return Credentials(token=self.vault.token(app_id, app), app_secret=self.vault.app_secret(app_id, app))

    def _enqueue(self, whose: Operation, kind: str, *, key: str, service_class: ServiceClass | None) -> str:
        request = Request(
            kind=kind,
            partner=whose.partner,
            waba=whose.waba,
            app=whose.routed_from or whose.app,
            service_class=service_class,
            key=key,
        )
        new = checked(request, kinds=self.kinds, settings=self.settings)
        new = self.router.routed(new, self.router.standing())
        [accepted] = self.ledger.operations.accept([new], now=self.clock.now())
        self.work_bell.ring()
        return accepted.operation.id

    def close(self) -> None:
        """Close the ledger's connections; Redis's close by themselves."""
        if "ledger" in self.__dict__:
            self.ledger.database.close()

    def _redis(self, timeout: float) -> Redis:
        try:
            return Redis.from_url(
                self.settings.redis,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                # One more try, for a pooled connection that broke while it lay idle; not for a timeout.
                # Everything beyond that is for the one who asks to decide.
                retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
                health_check_interval=0,
            )
        except ValueError as error:
            raise ConfigurationError(f"WABAJOBS_REDIS_URL cannot be used: {error}") from None


def _worker_name(queues: Sequence[str]) -> str:
    """Return the name of this process in the ledger: its queues, host and process, in at most 120 characters."""
    more = f"+{len(queues) - 1}" if len(queues) > 1 else ""
    return f"{queues[0][:32]}{more}@{socket.gethostname()[:64]}:{os.getpid()}"
