"""Every knob of a simulator, with its unit and its default."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from wabajobs.simulator.faults import FaultRule, Pattern
from wabajobs.simulator.scenario import Phase, Scenario

SHIPPED = Path(__file__).parent / "scenarios"
"""Where the scenarios are that come with the package."""


NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class SimulatorConfig(BaseModel):
    """How one simulator behaves; the same config and seed always make the same world."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    # The world
    seed: int = 1
    """Decides every id, secret, token, name and template."""
    apps: int = Field(default=1, ge=1, le=1000)
    """How many Meta apps exist; each may call every WABA."""
    wabas: int = Field(default=10, ge=0, le=1_000_000)
    """How many WhatsApp Business Accounts exist."""
    inactive_wabas: int = Field(default=0, ge=0)
    """How many of them, counted from the last, have no registered number and so the small quota."""
    numbers: int = Field(default=1, ge=0, le=100)
    """Phone numbers of each WABA."""
    templates: Annotated[int, Field(ge=0, le=90_000)] | tuple[int, int] = 40
    """Message templates of each WABA: a number, or a spread (fewest, most)."""

    # Limits
    window: float = Field(default=3600.0, gt=0)
    """Length of every rolling window, in simulated seconds."""
    app_limit: int = Field(default=200_000, ge=1)
    """Calls an app may make in a window."""
    waba_limit_active: int = Field(default=5000, ge=1)
    """Calls an app may make in a window for a WABA that has a registered number."""
    waba_limit_inactive: int = Field(default=200, ge=1)
    """The same for a WABA without one."""
    user_limit: int | None = Field(default=None, ge=1)
    """Calls that one user's tokens may make in a window, then code 17; none: no limit, as Meta tells no figure.
    Calls count from when it is set."""
    claimed_app_limit: int | None = Field(default=None, ge=1)
    """The limit that X-App-Usage is reckoned with, where Meta says one thing and does another."""
    credit_limit: int = Field(default=5000, ge=1)
    """Calls an app may make to lines of credit in a window."""
    credit_refusal_code: Literal[4, 80008] = 80008
    """Code of a refusal by that limit; no source names it."""
    count_refused: bool = True
    """Whether a refused call counts too, in every window that applies to it."""
    app_refusal_status: Literal[400, 403, 429] = 400
    """HTTP status of codes 4 and 17; sources name all three."""
    app_refusal_transient: bool | None = True
    """`is_transient` of codes 4 and 17; none leaves the field out."""
    waba_refusal_code: Literal[80007, 80008] = 80008
    """Code of a refusal by a WABA's limit."""
    waba_refusal_status: Literal[400, 403, 429] = 400
    """HTTP status of a refusal by a WABA's limit."""
    waba_refusal_transient: bool | None = None
    """`is_transient` of a refusal by a WABA's limit; none leaves the field out."""
    refusal_subcode: int | None = None
    """`error_subcode` of all these refusals (2446079 in Meta's OpenAPI); none leaves the field out."""
    time_factor: float = Field(default=0.25, ge=0)
    """`total_time` percent as a share of the `call_count` percent; above 1, time throttles before count."""
    cputime_factor: float = Field(default=0.25, ge=0)
    """The same for `total_cputime`. A nested edge in `fields` costs as much as one call more of both."""

    # Headers
    app_usage_header: bool = True
    """Whether answers carry X-App-Usage."""
    waba_usage_header: bool = True
    """Whether answers about a WABA carry X-Business-Use-Case-Usage."""
    header_floor: int = Field(default=1, ge=0)
    """X-App-Usage is absent while every percent in it is below this."""
    headers_on_refusal: bool = True
    """Whether a throttled answer carries the usage headers too."""

    # Answers
    default_limit: int = Field(default=25, ge=1)
    """Page size of a list when the call names none."""
    max_limit: int = Field(default=1000, ge=1)
    """Largest page size that a call may ask for."""
    heavy_over: int | None = Field(default=None, ge=1)
    """A page larger than this answers code 1 (too much data), where a WABA has no threshold of its own."""
    require_proof: bool = False
    """Whether every call must carry a right `appsecret_proof`."""
    missing_object: Literal["100/33", "803"] = "100/33"
    """How an object is told to be missing or out of reach: 400 with 100/33 as in the wild, or 404 with 803."""
    error_data: Literal["object", "text"] = "object"
    """Whether `error_data` is an object, or a text that holds JSON."""

    # Onboarding
    signup_code_seconds: float = Field(default=30.0, gt=0)
    """How long the code of an Embedded Signup may be exchanged, in simulated seconds."""
    business_token_seconds: float = Field(default=0.0, ge=0)
    """How long a token that came of such a code is valid, in simulated seconds; 0: for ever."""
    credit_shared_again: Literal["second", "same", "refuse"] = "second"
    """What sharing credit with a WABA that has it does: another allocation, the one that is there, an error.
    No source says."""

    # Phone numbers
    numbers_most: tuple[int, int] = (2, 20)
    """Phone numbers of one business: not verified, and verified."""
    number_taken_status: Literal[400, 409] = 400
    """HTTP status when a number that is added is somebody else's already; Meta's OpenAPI says 409."""
    code_seconds: NonNegative = 600.0
    """How long a code that was sent may be entered, in simulated seconds."""
    code_requests: tuple[int, float] = (10, 43_200.0)
    """How many codes may be sent to a number in so many simulated seconds; Meta tells no figures."""
    code_requests_code: Literal[136024, 613] = 136024
    """Code of a refusal by that quota; sources disagree."""
    code_guesses: tuple[int, float] = (5, 43_200.0)
    """After so many wrong codes in a row none is taken for so many simulated seconds; no source tells."""
    verification_seconds: NonNegative = 14 * 86_400.0
    """How long a verified number may wait for its registration, in simulated seconds."""
    registrations: tuple[int, float] = (10, 259_200.0)
    """How often a number may be registered in so many simulated seconds, and deregistered as often."""
    registration_lock: NonNegative = 259_200.0
    """How long both are refused by the first call over that quota, in simulated seconds."""
    failed_registrations_count: bool = True
    """Whether attempts that fail, for a wrong PIN or a missing verification, use that quota up too."""
    pin_guesses: tuple[int, float] = (5, 43_200.0)
    """After so many wrong PINs in a row none is taken for so many simulated seconds; no source tells."""
    pin_pause: NonNegative = 10.0
    """Simulated seconds after a wrong PIN within which the next attempt is too fast; no source tells."""
    name_review_seconds: NonNegative = 600.0
    """How long the review of a display name takes, in simulated seconds."""
    name_review: Literal["APPROVED", "DECLINED", "manual"] = "APPROVED"
    """How it ends; `manual`: somebody decides over the control plane."""
    migration_same_business: bool = False
    """Whether a number moves only between WABAs of one business, as at Meta; here each WABA has its own."""
    override_https: bool = False
    """Whether the callback of a number's own webhook, and an app's, must be https, as at Meta."""
    callback_asked: bool = True
    """Whether the callback of a WABA's or a number's own webhook is asked to prove itself, as at Meta."""

    # Business profiles
    description_most: int = Field(default=512, ge=1)
    """Characters of a description; Meta's guides say 512, its OpenAPI 256."""
    profile_refusal_code: Literal[100, 131009] = 100
    """Code of a profile's field that is too long or malformed; sources name both."""
    photo_checked: bool = True
    """Whether a profile photo must be a JPEG or PNG, square, and within these sizes; no source of Meta's."""
    photo_least: int = Field(default=192, ge=1)
    """Pixels of each side."""
    photo_most: int = Field(default=5 * 1024 * 1024, ge=1)
    """Bytes."""

    # Uploads
    upload_most: int = Field(default=200 * 1024 * 1024, ge=1)
    """Bytes of one file."""
    handle_ttl: float = Field(default=86_400.0, gt=0)
    """How long the handle of an upload may be used, in simulated seconds; Meta does not tell."""

    # Message templates
    template_review: Literal["auto", "manual"] = "auto"
    """`manual`: a template stays pending until somebody decides over the control plane."""
    template_review_seconds: tuple[NonNegative, NonNegative] = (30.0, 600.0)
    """Least and most simulated seconds that a review takes; with [0, 0] the creation is answered with its end."""
    template_approved_share: float = Field(default=1.0, ge=0, le=1)
    """Share of the reviewed templates that are approved, drawn from the seed."""
    template_rejected_names: Pattern | None = None
    """Regular expression; templates whose name it is found in are rejected."""
    template_marketing_names: Pattern | None = None
    """Regular expression; templates so named that say to be UTILITY are MARKETING: changed or rejected."""
    template_creations: tuple[int, float] = (100, 3600.0)
    """How many templates may be created for a WABA in so many simulated seconds."""
    template_creations_code: Literal[100, 80008] = 80008
    """Code of a refusal by that quota; no source names it."""
    template_limits: tuple[int, int] = (250, 6000)
    """Templates of a WABA, each language one: without, and with a verified business and an approved name."""
    template_edits: tuple[tuple[int, float], ...] = ((1, 86_400.0), (10, 2_592_000.0))
    """How often an approved template may be edited: pairs of a number and simulated seconds."""
    template_write_limit: int | None = Field(default=None, ge=1)
    """POST calls for one template in a window, then code 80012; none: no limit, which no source quantifies."""
    template_name_seconds: NonNegative = 2_592_000.0
    """Simulated seconds before the name of a deleted approved template may be used again."""
    template_deletion_seconds: NonNegative = 0.0
    """Simulated seconds that a deleted template lingers as PENDING_DELETION."""
    template_pauses: tuple[NonNegative, ...] = (10_800.0, 21_600.0)
    """Simulated seconds of a template's first, second, … pause for its quality; the next one disables it."""
    template_category_notice: NonNegative = 86_400.0
    """Simulated seconds between the notice of another category and the change."""
    template_archive_seconds: NonNegative = 2_419_200.0
    """Simulated seconds before an archived template is deleted."""
    template_words_per_variable: int = Field(default=2, ge=0)
    """A body needs so many words for each variable, and one more; some sources say 3."""
    template_category_subcode: int | None = None
    """Subcode when a translation's category differs from the other languages'; no source names it."""
    template_catalog: bool = True
    """Whether WABAs have a product catalog, which some buttons need."""
    template_migration_most: int | None = Field(default=None, ge=1)
    """Templates that one migration call copies before its time is up: it fails, and they are copied."""
    template_migrated_ids: Literal["source", "destination"] = "destination"
    """Which ids `migrated_templates` lists; Meta's page can be read both ways."""
    customer_changes_per_hour: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """How many templates customers create, edit or delete by themselves, in the whole world."""

    # Webhooks
    webhook_url: str | None = Field(default=None, pattern=r"^https?://")
    """Callback of every app; none: webhooks are recorded and not delivered."""
    webhooks_twice: Share = 0.0
    """Share of the webhooks that are delivered twice."""
    webhooks_late: Share = 0.0
    """Share of the deliveries that come late, and so perhaps after what happened later."""
    webhooks_late_seconds: tuple[NonNegative, NonNegative] = (1.0, 300.0)
    """Least and most simulated seconds of that delay."""
    webhook_language: Literal["hyphen", "underscore"] = "hyphen"
    """How webhooks write a template's language: `en-US` as in Meta's reference, `en_US` as in many payloads."""

    # Time
    clock: Literal["real", "hand"] = "real"
    """`hand`: time stands still until somebody moves it."""
    speed: float = Field(default=1.0, gt=0)
    """Simulated seconds per real second of the real clock."""
    latency: float = Field(default=0.0, ge=0)
    """Least time an answer takes, in simulated seconds."""
    jitter: float = Field(default=0.0, ge=0)
    """At most this much is added to it, evenly spread, from the seed; in simulated seconds."""

    # Record and faults
    log_size: int = Field(default=2_000_000, ge=1)
    """Calls that the judge remembers one by one; its counters never forget."""
    faults: tuple[FaultRule, ...] = ()
    """Faults in force from the start, in order."""

    # Scenario
    description: str | None = Field(default=None, max_length=400)
    """What this config plays, in one line."""
    phases: tuple[Phase, ...] = ()
    """What happens by itself, and when."""

    @model_validator(mode="after")
    def _spread_is_ordered(self) -> Self:
        if isinstance(self.templates, tuple) and not 0 <= self.templates[0] <= self.templates[1] <= 90_000:
            raise ValueError("templates must be a number or [fewest, most], both from 0 to 90000")
        return self

    @model_validator(mode="after")
    def _phases_have_names_of_their_own(self) -> Self:
        names = [phase.name for phase in self.phases]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"phases: two have the name {twice[0]!r}")
        return self

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """The config in a scenario file: knobs at its top level, `[[faults]]` and `[[phases]]`.

        A name without a slash and without `.toml` is that of a scenario that comes with the package.
        """
        file = scenario_file(path)
        data: dict[str, Any] = {}
        try:
            data = tomllib.loads(file.read_text(encoding="utf-8"))
            return cls.model_validate(data)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is no TOML file: {error}") from error
        except ValidationError as error:
            raise ValueError(f"{path}: {sentence(error, data)}") from error

    def scenario(self) -> Scenario:
        """What of it can be played by a simulator that runs already: phases, faults, and what is not fixed."""
        knobs = {name: getattr(self, name) for name in self.model_fields_set - FIXED}
        return Scenario(description=self.description, knobs=knobs, faults=self.faults, phases=self.phases)

    def with_changes(self, **changes: object) -> Self:
        """The same config with some knobs changed, checked again."""
        return type(self).model_validate({**dict(self), **changes})


FIXED = frozenset(
    {
        "apps",
        "clock",
        "description",
        "faults",
        "heavy_over",
        "inactive_wabas",
        "log_size",
        "numbers",
        "phases",
        "seed",
        "speed",
        "templates",
        "wabas",
        "webhook_url",
        "window",
    }
)
"""The knobs that are what they are from the start on: the world, time, and what has levers of its own."""


def scenario_file(name: str | Path) -> Path:
    """The file of a scenario: a path, or the name of one that comes with the package."""
    text = str(name)
    if "/" in text or text.endswith(".toml") or Path(text).exists():
        return Path(text)
    shipped = SHIPPED / f"{text}.toml"
    if not shipped.is_file():
        known = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.toml")))
        raise ValueError(f"there is no file {text}, and no scenario of this name; there are {known}")
    return shipped


def shipped_scenarios() -> dict[str, str]:
    """The scenarios that come with the package: name, and what happens in one line."""
    found = {}
    for file in sorted(SHIPPED.glob("*.toml")):
        text = file.read_text(encoding="utf-8")
        first = text.partition("\n")[0]
        comment = first.removeprefix("#").strip() if first.startswith("#") else ""
        found[file.stem] = str(tomllib.loads(text).get("description", comment))
    return found


def sentence(error: ValidationError, data: Mapping[str, Any] | None = None) -> str:
    """What is wrong with an input, in one sentence that never repeats the input itself.

    With the input as it came, a phase is called by its name.
    """
    problems = []
    for problem in error.errors(include_input=False, include_url=False):
        place, message = _place(problem["loc"], data or {}), problem["msg"].removeprefix("Value error, ")
        problems.append(f"{place}: {message}" if place else message)
    return "; ".join(problems)


def _place(loc: tuple[int | str, ...], data: Mapping[str, Any]) -> str:
    words = ".".join(str(part) for part in loc)
    match loc:
        case ("phases", int(number), *below):
            try:
                words = f"phase {str(data['phases'][number]['name'])[:80]!r}"
            except (LookupError, TypeError):
                words = f"phase {number + 1}"
            return ", ".join([words, *([".".join(str(part) for part in below)] if below else [])])
    return words
