"""Settings: a TOML file, with the environment above it. The only place that reads environment variables.

Every duration is in seconds, so that an hour can be run in a minute against any Graph server; only the ages of
`[retention]` are in days.
"""

import os
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    ValidationError,
    model_validator,
)

from wabajobs.errors import ConfigurationError
from wabajobs.feed import EventKind
from wabajobs.secret import VAULT_NAME, Secret, read_secret_file

META: Final = "https://graph.facebook.com"
RUNNING_FILE: Final = Path(".wabajobs") / "running.toml"
"""Written by `wabajobs up`; read when no variable says otherwise, so that a second terminal finds it."""

HEAVIEST: Final = 1000.0
"""The largest weight of a partner."""

VAULT_KEYS: Final = "WABAJOBS_VAULT_KEYS"
"""The environment variable that holds the vault's keys unless the settings say otherwise."""
_SAY_NOT_WHERE: Final = frozenset({VAULT_KEYS, "WABAJOBS_LOG"})
"""Variables that say nothing of which site it is."""

Share = Annotated[float, Field(gt=0, le=1)]
MayHoldPassword = Annotated[str, Field(repr=False)]
MetaId = Annotated[str, StringConstraints(pattern=r"^[0-9]{5,20}$")]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _address(url: str) -> str:
    parts = urlsplit(url)
    if url and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.fragment):
        raise ValueError("an address begins with http:// or https://, and has no user and no fragment in it")
    return url


class SecretSource(_Table):
    """Where a secret is read from: the environment, a file or the vault; never the configuration itself."""

    env: str | None = None
    file: Path | None = None
    vault: Annotated[str, StringConstraints(pattern=rf"^{VAULT_NAME}$")] | None = None
    """Its name in the vault: `wabajobs vault set NAME`. Another one is in use within seconds."""

    def read(self, environ: Mapping[str, str], *, what: str) -> Secret:
        """Return the secret, or raise `ConfigurationError` that names what is missing."""
        if self.env is not None:
            if value := environ.get(self.env):
                return Secret(value)
            raise ConfigurationError(f"{what}: the environment variable {self.env} is not set")
        if self.file is not None:
            try:
                return read_secret_file(self.file)
            except OSError as error:
                raise ConfigurationError(f"{what}: {self.file} cannot be read ({error.strerror})") from None
            except UnicodeDecodeError:
                raise ConfigurationError(f"{what}: {self.file} cannot be read (it is not UTF-8 text)") from None
        if self.vault is not None:
            raise ConfigurationError(f"{what}: it cannot lie in the vault")
        raise ConfigurationError(f'{what}: say where it is, {{ env = "NAME" }} or {{ file = "PATH" }}')


class AppSettings(_Table):
    """One Meta app: `[apps.<app id>]`."""

    token: SecretSource
    secret: SecretSource | None = None
    """With the app's secret, every call carries an `appsecret_proof`."""
    calls_per_window: Annotated[int, Field(ge=0)] = 200
    """Meta's limit for the app, until `limits set` says otherwise. See your App Dashboard. 0: unknown."""
    calls_per_waba: PositiveInt = 5000
    """Meta's limit per app and WABA that has a registered number."""
    calls_per_inactive_waba: PositiveInt = 200
    """The same for a WABA without one."""
    system_user: MetaId | None = None
    """Our system user that `onboarding` gives each new WABA to; without it that is not done."""
    credit_line: MetaId | None = None
    """Our line of credit that `onboarding` shares with each new WABA; without it that is not done."""


class GateSettings(_Table):
    """`[gate]`: windows, breakers and the bounds of a permit."""

    window_seconds: PositiveFloat = 3600
    """Length of Meta's rolling window."""
    window_buckets: Annotated[int, Field(ge=10, le=180)] = 120
    """Buckets a window is counted in; 120 use 99 % of the limit in under 1 KiB."""
    spread_seconds: Annotated[float, Field(ge=0)] = 5
    """How much later than its admission a call may reach Meta; windows are this much longer."""
    margin: Annotated[float, Field(ge=0, lt=0.5)] = 0.02
    """Share of a limit that is left for calls of others that the headers have not told yet."""
    registrations: PositiveInt = 8
    """Registrations of a number in their window, and as many deregistrations; Meta locks it at the eleventh."""
    registration_window_seconds: PositiveFloat = 259_200
    """Length of that window: 72 hours."""
    template_creations: PositiveInt = 100
    """Templates that may be created in a WABA in a window."""
    interactive_reserve: Annotated[float, Field(ge=0, lt=0.5)] = 0.01
    """Least share of a budget that is kept for `interactive` operations; more, as they use more. While there are
    none it is taken out of the margin, half of that at most, and `background` may use the rest."""
    standard_reserve: Annotated[float, Field(ge=0, lt=0.5)] = 0.01
    """The same for `standard` ones, and nothing while there are none: `background` may fill what both leave."""
    reserve_most: Annotated[float, Field(ge=0, lt=0.5)] = 0.2
    """Largest share that demand can have kept for one class."""
    pacing: bool = True
    """Spread `standard` and `background` calls evenly over the window, instead of as fast as they come."""
    pacing_burst_calls: PositiveInt = 10
    """Calls that may follow each other at once although paced, so that a short operation is not stretched."""
    pacing_burst_seconds: PositiveFloat = 2
    """How much of the pace may be saved up besides."""
    ask_again_seconds: PositiveFloat = 1
    """When to ask again while one call finds out how things stand. The first in line is waited for twice that."""
    breaker_seconds: PositiveFloat = 30
    """First opening of a breaker; doubles at each trip."""
    breaker_cap_seconds: PositiveFloat = 120
    """Longest opening, unless Meta names a longer time."""
    probe_lease_seconds: PositiveFloat = 45
    """A probe that has not been settled by then is taken for lost. Longer than a call can take."""
    failure_window_seconds: PositiveFloat = 60
    """Span over which failed calls are counted for a breaker."""
    failure_calls: PositiveInt = 20
    """Fewest calls in that span that can trip a breaker by rate."""
    failure_share: Share = 0.5
    """Share of failed calls that trips it."""
    slow_call_seconds: PositiveFloat = 20
    """An answer that took longer counts as a failure for the breaker of its capability."""
    silence_seconds: PositiveFloat = 30
    """A gate to which no dispatcher has spoken for so long lets nothing pass: its Redis may be an old copy."""
    unknown_limit: PositiveInt = 200
    """What an app of unknown limit (`calls_per_window = 0`) may use until Meta's headers have told more."""
    away_calls_per_minute: Annotated[int, Field(ge=0)] = 0
    """Interactive calls of each process while Redis is away. They heed no pause and no budget."""
    learning_share: Share = 0.5
    """Share of a limit taken for spent after the gate's state was lost and Meta's headers say nothing."""
    header_stale_seconds: PositiveFloat = 30
    """A usage header older than this lets one call through to refresh it."""
    start_within_seconds: PositiveFloat = 1
    """A permit not used by then is void."""
    redis_timeout_seconds: PositiveFloat = 2
    """How long the gate waits for Redis before it fails closed."""


class GraphSettings(_Table):
    """`[graph]`: the HTTP side."""

    connect_seconds: PositiveFloat = 5
    read_seconds: PositiveFloat = 30
    in_flight_seconds: Annotated[float, Field(ge=0)] = 40
    """How long a call that has left may still take effect, whatever has become of its caller. Only then is it
    looked for: who looks sooner may find nothing, and do it twice."""
    pool_size: PositiveInt = 32


class DispatchSettings(_Table):
    """`[dispatch]`: leases and waits between ledger and workers."""

    poll_seconds: PositiveFloat = 1
    """How often the dispatcher looks although nobody woke it."""
    release_lease_seconds: PositiveFloat = 10
    """A released operation that no worker has begun by then goes back to the ledger."""
    attempt_lease_seconds: PositiveFloat = 10
    """A running attempt whose lease was not renewed for so long is taken for dead."""
    renew_seconds: PositiveFloat = 3
    """How often a worker renews its leases."""
    gone_seconds: PositiveFloat = 2
    """A worker whose line to Redis was cut so long ago is gone, and what it had begun is taken back at once."""
    worker_alive_seconds: PositiveFloat = 5
    """A worker that has not announced itself for so long gets nothing any more."""
    leader_seconds: PositiveFloat = 4
    """A dispatcher that has not renewed its lead for so long loses it."""
    lower_share: Annotated[float, Field(ge=0, lt=0.5)] = 0.05
    """Part of the turns that lower classes get while higher ones wait, so that none starves."""
    short_wait_seconds: Annotated[float, Field(ge=0)] = 2
    """A wait up to this long is slept out in the worker; a longer one gives the slot back."""
    travel_seconds: Annotated[float, Field(ge=0, le=1)] = 0.05
    """How long a message travels from the dispatcher to a worker. What ends meanwhile frees its slot in time."""
    max_attempts: PositiveInt = 6
    """Attempts that may fail for passing reasons. Being held spends none."""
    retry_seconds: PositiveFloat = 5
    """First back-off after a passing failure; doubles, with full jitter."""
    retry_cap_seconds: PositiveFloat = 600
    """Longest back-off."""
    retry_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Retries in a minute, as a share of the first tries, for all operations of an app's capability together."""
    retries_per_minute: PositiveInt = 10
    """Retries that these get besides, so that there are some also when little is tried."""
    misconfigured_seconds: PositiveFloat = 30
    """How long an operation waits after a worker that lacks something, such as a token, had to give it back."""

    @property
    def short_wait(self) -> timedelta:
        """`short_wait_seconds`."""
        return timedelta(seconds=self.short_wait_seconds)


class PartnerSettings(_Table):
    """One partner: `[partners.<partner>]`. `wabajobs partners set` has the last word."""

    weight: Annotated[float, Field(gt=0, le=HEAVIEST)] = 1
    """How many turns the partner has for one of an ordinary one's."""
    at_most: PositiveInt | None = None
    """How many of the partner's operations may be out at once; without it, as many as there are slots."""


def _steps(steps: tuple[int, ...]) -> tuple[int, ...]:
    if not steps or list(steps) != sorted(set(steps)) or not 0 < steps[0] <= steps[-1] < 100:
        raise ValueError("the steps of a ramp are percentages from 1 to 99, each larger than the one before")
    return steps


class RampSettings(_Table):
    """`[ramp]`: how what was paused goes on."""

    steps: Annotated[tuple[int, ...], AfterValidator(_steps)] = (10, 25, 50, 75)
    """Percent of an app's budget that it may use in each step; after the last, all of it."""
    step_seconds: PositiveFloat = 120
    """How long a step lasts at least. It does not end while the budget is nearly spent, or a breaker open."""


class RetentionSettings(_Table):
    """`[retention]`: for how many days something is kept. Decisions are kept for ever."""

    finished_days: PositiveFloat = 30
    """Operations that succeeded, expired or were cancelled, with their stories."""
    failed_days: PositiveFloat = 90
    """Operations that failed, with their stories."""
    pages_days: PositiveFloat = 1
    """Pages of a list whose sync ended half-way; a retry after that reads it from the beginning."""
    key_days: PositiveFloat = 90
    """Idempotency keys. One whose operation is gone is answered with an error, not with a second operation."""
    media_days: PositiveFloat = 7
    """Files of operations that did not succeed, for a retry; those of others go at once."""
    event_days: PositiveFloat = 30
    """Events for the Hub. One that asks for older ones is told so."""
    changes_days: PositiveFloat = 365
    """The differences that template syncs found."""
    seen_days: PositiveFloat = 90
    """What was seen of Meta and the breakers, samples of budgets and queues, and who spent the budgets."""
    incident_days: PositiveFloat = 1095
    """Incidents, from when they were closed on. One that is open stays."""
    busy_seconds: PositiveFloat = 0.05
    """How long the leading dispatcher deletes in each of its poll intervals, in small transactions."""


class WorkerSettings(_Table):
    """`[workers]`."""

    concurrency: PositiveInt = 8
    """Operations that one worker process works at at once (threads)."""


class TemplateSyncSettings(_Table):
    """`[template_sync]`."""

    page_size: Annotated[int, Field(ge=1, le=1000)] = 100
    """Templates asked for per call at first; halved when Meta says that the page is too heavy."""
    max_pages: PositiveInt = 1000
    """Pages after which a list is taken for endless."""
    order: Literal["oldest", "newest", "stalest"] = "oldest"
    """Which sync goes first among those of a partner: by when it was asked for, or by the age of the list."""
    take_up_within_seconds: PositiveFloat = 3600
    """A list that was half read longer ago than this is read from the beginning."""


class OnboardingSettings(_Table):
    """`[onboarding]`."""

    code_seconds: PositiveFloat = 30
    """How long Meta takes the code of a signup. One that we have had for longer is not worth a call."""
    new_code_seconds: PositiveFloat = 604_800
    """How long a customer is waited for who is to sign up again."""
    answer_seconds: PositiveFloat = 1_209_600
    """How long a person is waited for who is to give a PIN or a currency. Meta lets a number be registered within
    14 days of its signup."""


class VaultSettings(_Table):
    """`[vault]`: where PINs, codes and tokens lie that operations bring along."""

    keys: SecretSource = SecretSource(env=VAULT_KEYS)
    """Its keys, separated by commas: the first seals, all open. `wabajobs vault new-key` makes one."""
    provider: str = ""
    """`module:function` that is asked for `hub:<name>`: it takes the name, and returns the secret or None."""


class MediaSettings(_Table):
    """`[media]`: files for Meta: how they are fetched from a partner's address, and uploaded."""

    fetch_seconds: PositiveFloat = 60
    """How long fetching one may take in all, with its redirects."""
    ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = (80, 443)
    """Ports from which a partner's file is fetched."""
    allow: tuple[str, ...] = ()
    """Addresses, networks or host names inside our own network from which files may be fetched, at any port."""
    chunk_bytes: Annotated[int, Field(ge=1024)] = 16_777_216
    """Most bytes that are sent to Meta in one call: 16 MiB, so that photos and most videos take one."""
    handle_seconds: PositiveFloat = 86_400
    """A handle older than this is renewed before it is used. Meta does not tell how long one lives."""


class FlowerSettings(_Table):
    """`[flower]`: what Flower is told of that is no message: what is held, and why."""

    look_seconds: PositiveFloat = 2
    """How often the leading dispatcher looks what is held. What is new and what is over is told at once."""
    repeat_seconds: Annotated[float, Field(gt=0, le=15)] = 10
    """How often all of it is told again, for a Flower that has just been started."""
    reasons: Annotated[int, Field(ge=1, le=1000)] = 200
    """Reasons that are told, each with its queue and its number; those with most operations first."""
    operations: Annotated[int, Field(ge=0, le=500)] = 50
    """Single operations of a queue that are told as held, those that came first."""


class CallbackSettings(_Table):
    """`[callbacks]`: where the Hub is called for each event, signed; without an address it reads them itself."""

    url: Annotated[str, AfterValidator(_address)] = ""
    """The Hub's address, http or https. It is yours, so no address is forbidden; redirects are not followed."""
    secret: SecretSource | None = None
    """What callbacks are signed with; needed with an address."""
    kinds: tuple[EventKind, ...] = ()
    """Which events, such as `operation.failed`; empty: all."""
    timeout_seconds: PositiveFloat = 10
    """How long the Hub may take to answer."""
    connections: Annotated[int, Field(ge=1, le=32)] = 4
    """Callbacks at once. Those of one WABA come one after the other."""
    retry_seconds: PositiveFloat = 2
    """Before the second try; doubled before each further one."""
    retry_cap_seconds: PositiveFloat = 300
    """Longest time between two tries."""
    attempts: PositiveInt = 300
    """Tries after which an event is given up; `wabajobs events resend` sends it once more."""
    give_up_seconds: PositiveFloat = 86_400
    """The same in time, from the first try on."""

    @model_validator(mode="after")
    def _is_signed(self) -> Self:
        if self.url and self.secret is None:
            raise ValueError('a callback is signed: say with what, secret = { env = "NAME" }')
        return self


class PlannerSettings(_Table):
    """`[planner]`: how fresh the template lists of the fleet are kept, and what that may cost."""

    enabled: bool = True
    """Plan syncs of the WABAs that are known, without being asked for each."""
    every_seconds: PositiveFloat = 3600
    """Wished staleness of a list, until `fleet set` says otherwise."""
    share: Share = 0.6
    """Share of an app's limit that syncs are planned for; the rest stays for what is asked for."""
    waiting: PositiveInt = 100
    """Planned syncs of an app that may wait at once."""
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share by which a sync may come early, another for each WABA and each time: no herd."""
    pending_share: Share = 0.1
    """A list with a template that waits for Meta is due after this share of the wish."""
    pending_seconds: PositiveFloat = 86_400
    """So long after it was sent in a template hurries its list."""
    missed_share: Share = 0.25
    """The same share for a list in which a sync has found what no webhook had told."""
    trusted_times: Annotated[float, Field(ge=1)] = 10
    """A list whose webhooks are borne out is due after this many times the wish."""
    least_seconds: PositiveFloat = 60
    """No haste makes a list due more often than this, unless the wish itself is shorter."""
    failing_seconds: PositiveFloat = 21_600
    """Longest rest between syncs that fail; it doubles from the wish on."""
    confirm_seconds: Annotated[float, Field(ge=0)] = 60
    """How soon a list is synced of which a webhook told something that only a sync can make sure of."""
    clock_margin_seconds: Annotated[float, Field(ge=1)] = 5
    """How far apart Meta's clock, which tells whole seconds, and ours may be when news and pages are ordered."""
    survey_seconds: PositiveFloat = 300
    """How often the fleet is counted, for the forecast."""


class StatusPageSettings(_Table):
    """`[status_page]`: what `wabajobs feeds` shows to the public."""

    name: str = "WhatsApp Business management"
    """Title of the page."""
    url: Annotated[str, AfterValidator(_address)] = "http://127.0.0.1:5556"
    """Where the public reads it; incidents are linked below it."""
    components: dict[str, tuple[str, ...]] = {
        "Number Setup": ("number_registration", "number_migration", "hosting_change"),
        "Onboarding": ("onboarding",),
        "Templates": ("template_*",),
        "Flows": ("flow_publish",),
        "Profiles": ("profile_*",),
        "Channels": ("channel_update",),
    }
    """The components, and the kinds that each stands for. `template_create/uploads` names those operations of the
    kind that need uploads; they then belong to no component that names the kind as a whole."""
    busy_share: Share = 0.9
    """Part of an app's limit from which on its components are shown as degraded."""
    update_seconds: PositiveFloat = 14_400
    """How soon the public is told more of an incident. `next_update_due` says when that is."""
    look_seconds: PositiveFloat = 2
    """Time between two looks at breakers and pauses. Operations are counted less often where that takes long."""


class WatchSettings(_Table):
    """`[watch]`: what the leading dispatcher keeps an eye on, and whom it wakes."""

    enabled: bool = True
    """Look, keep what was seen, open incidents, give alarms."""
    look_seconds: PositiveFloat = 10
    """How often breakers and budgets are looked at. An alarm comes at most this long after its cause."""
    sample_seconds: PositiveFloat = 60
    """How often budgets, queues and who spent what are written down. A large ledger is counted less often."""
    quiet_seconds: PositiveFloat = 1800
    """An episode of an incident ends when nothing was wrong for so long."""
    rejoin_seconds: PositiveFloat = 1_209_600
    """What comes back within this time belongs to the same incident, which is opened again if it was closed."""
    exhausted_within_seconds: PositiveFloat = 1800
    """An alarm when an app's budget, as it fills, will be spent for interactive operations so soon."""
    exhausted_from: Share = 0.5
    """Not while less than this share of the budget is spent."""
    slope_seconds: PositiveFloat = 300
    """Over how long it is measured how fast a budget fills, and what is late is caught up with."""
    interactive_age_seconds: PositiveFloat = 900
    """An alarm when the oldest unfinished interactive operation is older, nobody holds it on purpose, and these
    are not being caught up with."""
    standard_age_seconds: PositiveFloat = 14_400
    """The same for standard ones."""
    background_age_seconds: PositiveFloat = 86_400
    """The same for background ones."""
    no_worker_seconds: PositiveFloat = 120
    """An alarm when operations of a queue wait, and no worker was alive for it for so long."""
    alarm_command: tuple[str, ...] = ()
    """Program and arguments to run for each episode, with the incident as JSON on its standard input."""
    alarm_url: Annotated[str, AfterValidator(_address)] = ""
    """Address to which the same JSON is posted."""
    alarm_secret: SecretSource | None = None
    """What that is signed with, as callbacks are; without it, it is not signed."""
    alarm_timeout_seconds: PositiveFloat = 30
    """How long the program may run, or the address take to answer."""
    alarm_retry_seconds: PositiveFloat = 10
    """Before an alarm that came to nothing is given again; doubled before each further time."""
    alarm_retry_cap_seconds: PositiveFloat = 600
    """Longest time between two tries."""
    alarm_attempts: PositiveInt = 50
    """Tries after which an alarm is given up."""


class Settings(_Table):
    """All settings, with the environment's word above the file's."""

    database_url: MayHoldPassword = ""
    redis_url: MayHoldPassword = ""
    broker_url: MayHoldPassword = ""
    graph_url: str = META
    graph_version: Annotated[str, StringConstraints(pattern=r"^v[0-9]+\.[0-9]+$")] = "v24.0"
    log: Literal["text", "json"] = "text"
    """How programs log to standard error: lines for people, or one JSON object a line."""
    kinds: tuple[str, ...] = ()
    """Modules with kinds of your own, each with a `KIND` in it."""
    apps: dict[MetaId, AppSettings] = {}
    gate: GateSettings = GateSettings()
    graph: GraphSettings = GraphSettings()
    dispatch: DispatchSettings = DispatchSettings()
    workers: WorkerSettings = WorkerSettings()
    partners: dict[str, PartnerSettings] = {}
    ramp: RampSettings = RampSettings()
    retention: RetentionSettings = RetentionSettings()
    template_sync: TemplateSyncSettings = TemplateSyncSettings()
    planner: PlannerSettings = PlannerSettings()
    onboarding: OnboardingSettings = OnboardingSettings()
    callbacks: CallbackSettings = CallbackSettings()
    flower: FlowerSettings = FlowerSettings()
    vault: VaultSettings = VaultSettings()
    media: MediaSettings = MediaSettings()
    watch: WatchSettings = WatchSettings()
    status_page: StatusPageSettings = StatusPageSettings()

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, *, running: Path | None = RUNNING_FILE) -> Self:
        """Read the file that `WABAJOBS_CONFIG` names, then the environment above it.

        Without any `WABAJOBS_` variable that says where anything is, `running` is read: what a `wabajobs up` of
        this folder has left. Raises `ConfigurationError` with the field and what is wrong with it.
        """
        environ = os.environ if environ is None else environ
        table = _read_toml(_config_path(environ, running))
        for field in ("database_url", "redis_url", "broker_url", "graph_url", "graph_version", "log"):
            if value := environ.get(f"WABAJOBS_{field.upper()}"):
                table[field] = value
        try:
            return cls.model_validate(table)
        except ValidationError as error:
            raise ConfigurationError(_first_sentence(error)) from None

    @cached_property
    def broker(self) -> str:
        """URL of Celery's broker; the Redis URL unless set."""
        return self.broker_url or self.redis

    @cached_property
    def redis(self) -> str:
        """URL of the gate's Redis."""
        return self.redis_url or "redis://127.0.0.1:6379/0"

    @cached_property
    def database(self) -> str:
        """SQLAlchemy URL of the ledger."""
        return self.database_url or "sqlite:///wabajobs.sqlite3"

    def app(self, app_id: str) -> AppSettings:
        """Return the settings of an app, or raise `ConfigurationError` that names those there are."""
        if app_id not in self.apps:
            known = ", ".join(self.apps) or "none"
            raise ConfigurationError(f"app {app_id!r} is not configured (configured: {known})")
        return self.apps[app_id]


def _config_path(environ: Mapping[str, str], running: Path | None) -> Path | None:
    if path := environ.get("WABAJOBS_CONFIG"):
        return Path(path)
    told_otherwise = any(
        name.startswith("WABAJOBS_") and name not in _SAY_NOT_WHERE and value for name, value in environ.items()
    )
    return running if running and not told_otherwise and running.exists() else None


def _read_toml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror}); see WABAJOBS_CONFIG") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from None


def _first_sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"configuration: {where}: {first['msg']}{more}"
