"""Every knob of a simulator, with its unit and its default."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from wabajobs.simulator.faults import FaultRule


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
    claimed_app_limit: int | None = Field(default=None, ge=1)
    """The limit that X-App-Usage is reckoned with, where Meta says one thing and does another."""
    credit_limit: int = Field(default=5000, ge=1)
    """Calls an app may make to lines of credit in a window."""
    credit_refusal_code: Literal[4, 80008] = 80008
    """Code of a refusal by that limit; no source names it."""
    count_refused: bool = True
    """Whether a refused call counts too, in every window that applies to it."""
    app_refusal_status: Literal[400, 403, 429] = 400
    """HTTP status of code 4; sources name all three."""
    app_refusal_transient: bool | None = True
    """`is_transient` of code 4; none leaves the field out."""
    waba_refusal_code: Literal[80007, 80008] = 80008
    """Code of a refusal by a WABA's limit."""
    waba_refusal_status: Literal[400, 403, 429] = 400
    """HTTP status of a refusal by a WABA's limit."""
    waba_refusal_transient: bool | None = None
    """`is_transient` of a refusal by a WABA's limit; none leaves the field out."""
    refusal_subcode: int | None = None
    """`error_subcode` of both refusals (2446079 in Meta's OpenAPI); none leaves the field out."""
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

    # Webhooks
    webhook_url: str | None = Field(default=None, pattern=r"^https?://")
    """Callback of every app; none: webhooks are recorded and not delivered."""

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

    @model_validator(mode="after")
    def _spread_is_ordered(self) -> Self:
        if isinstance(self.templates, tuple) and not 0 <= self.templates[0] <= self.templates[1] <= 90_000:
            raise ValueError("templates must be a number or [fewest, most], both from 0 to 90000")
        return self

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """The config in a scenario file: these knobs at its top level, and `[[faults]]`."""
        try:
            return cls.model_validate(tomllib.loads(Path(path).read_text(encoding="utf-8")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is no TOML file: {error}") from error
        except ValidationError as error:
            raise ValueError(f"{path}: {sentence(error)}") from error

    def with_changes(self, **changes: object) -> Self:
        """The same config with some knobs changed, checked again."""
        return type(self).model_validate({**dict(self), **changes})


def sentence(error: ValidationError) -> str:
    """What is wrong with an input, in one sentence that never repeats the input itself."""
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'the input'}: {problem['msg']}"
        for problem in error.errors(include_input=False, include_url=False)
    )
