"""The objects that exist at Meta, as they are kept. Containers in them are replaced, never changed in place,
so that an older copy of an object stays as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import ConfigDict

from wabajobs.simulator.world.templates import Template


@dataclass(frozen=True, slots=True)
class App:
    """A Meta app with its system user's token."""

    kind: ClassVar[str] = "app"
    id: str
    secret: str = field(repr=False)
    token: str = field(repr=False)
    system_user_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is known of an access token."""

    text: str = field(repr=False)
    app_id: str
    type: str
    """As `debug_token` names it: SYSTEM_USER, APP or USER."""
    user_id: str = ""
    scopes: tuple[str, ...] = ()
    waba_ids: tuple[str, ...] | None = None
    """The WABAs it was granted for; none: whatever its user is assigned to."""
    issued_at: int = 0
    expires_at: int = 0
    """Unix time; 0: never."""


@dataclass(slots=True, kw_only=True)
class Business:
    """A business portfolio: the partner's own, or a customer's."""

    kind: ClassVar[str] = "business"
    id: str
    name: str
    verified: bool = True
    granted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The WABAs that it shared with each app by Embedded Signup, newest first."""
    integration_users: dict[str, str] = field(default_factory=dict)
    """The user, by app, whose tokens come of an Embedded Signup."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemUser:
    """A system user of the partner's, who has an app's token."""

    kind: ClassVar[str] = "system_user"
    id: str
    name: str


@dataclass(slots=True, kw_only=True)
class Credit:
    """A partner's line of credit."""

    kind: ClassVar[str] = "credit"
    id: str
    business_id: str
    name: str


@dataclass(slots=True, kw_only=True)
class Allocation:
    """A line of credit shared with a customer, and attached to a WABA once there is one."""

    kind: ClassVar[str] = "allocation"
    id: str
    credit_id: str
    business_id: str
    """The business that receives it."""
    waba_id: str | None = None
    currency: str = "USD"
    deleted: bool = False
    with_business: bool = False
    """Whether it was shared with the business first, and not with a WABA at once."""
    credential_id: str = ""
    """What the customer pays with: the `primary_funding_id` of its WABA."""


@dataclass(slots=True, kw_only=True)
class Number:
    """A phone number of a WABA."""

    kind: ClassVar[str] = "phone"
    id: str
    waba_id: str
    display: str
    verified_name: str
    registered: bool
    cc: str = "1"
    national: str = ""
    """Digits after the country code."""
    code_status: str = "VERIFIED"
    pin: str | None = None
    quality: str = "GREEN"
    name_status: str = "APPROVED"
    new_name: str | None = None
    new_name_status: str = "NONE"
    platform: str = "CLOUD_API"
    on_business_app: bool = False
    data_localization_region: str | None = None
    onboarded_at: int = 0
    """Unix time; 0: with the world."""
    profile: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    override: dict[str, str] | None = None
    """`override_callback_uri` of the number's own webhook."""
    migrating_from: str | None = None
    """Id of the number that it is at the WABA that it comes from."""
    moved_away: bool = False
    """Whether it works from another WABA now."""
    verified_at: float = 0.0
    """Simulated second from which its verification waits for a registration."""
    created_at: int = 0
    """Unix time; 0: with the world."""
    condition: str | None = None
    """BANNED, FLAGGED, RESTRICTED or RATE_LIMITED, by Meta's decision."""
    official: bool = False
    """Whether it is an Official Business Account."""
    sandbox: bool = False
    """Whether it is a test number."""
    throughput: str = "STANDARD"
    preverified: bool = False
    """Whether it was verified by the partner before it came to a WABA."""
    registered_before: bool = False
    certificate: str | None = None
    new_certificate: str | None = None
    maintenance_until: float = 0.0
    """Simulated second until which it cannot move, for maintenance."""
    deleted_until: float = 0.0
    """Simulated second until which it cannot be registered, because it was deleted recently."""
    half_deregistered: bool = False
    """Whether a deregistration stopped halfway and must be repeated."""
    migration_ended: bool = False
    """Whether it was to move here, and does not any more."""
    migration_problem: str | None = None
    """Why it may not leave its WABA, by Meta's decision."""
    backup: dict[str, str] | None = None
    """`password` and `data` of an On-Premises installation's backup."""
    code: str | None = None
    """The code that was sent last and is not used yet."""
    code_until: float = 0.0
    """Simulated second at which that code ends."""
    sms: tuple[dict[str, Any], ...] = ()
    """The last codes that its owner got: `time`, `method`, `language`, `code`."""
    code_requests: tuple[float, ...] = ()
    code_guesses: int = 0
    """Wrong codes in a row."""
    code_again_at: float = 0.0
    """Simulated second until which no code is taken."""
    registrations: tuple[float, ...] = ()
    """Simulated seconds of its register calls, for their quota."""
    deregistrations: tuple[float, ...] = ()
    locked_until: float = 0.0
    """Simulated second until which register and deregister are refused."""
    pin_guesses: int = 0
    """Wrong PINs in a row."""
    pin_guessed_at: float | None = None
    """Simulated second of the last of them."""


@dataclass(slots=True)
class Waba:
    """A WhatsApp Business Account. Its templates are invented when first looked at, the same every time."""

    kind: ClassVar[str] = "waba"
    id: str
    index: int
    name: str
    numbers: tuple[Number, ...]
    templates_at_first: int
    heavy_over: int | None
    templates: list[Template] | None = None
    made: int = 0
    business_id: str = ""
    currency: str = "USD"
    timezone_id: str = "1"
    country: str = "US"
    review: str = "APPROVED"
    funding_id: str | None = None
    """The `credential_id` of the allocation that pays."""
    assigned: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Tasks of each user that is assigned."""
    subscribed: dict[str, str | None] = field(default_factory=dict)
    """Apps that get its webhooks, each with the callback that overrides the app's own."""
    settings: dict[str, Any] = field(default_factory=dict)
    flow_ids: tuple[str, ...] = ()
    creations: tuple[float, ...] = ()
    """Simulated seconds of template creations, for their quota."""
    deleted_names: dict[str, float] = field(default_factory=dict)
    """Names of deleted approved templates, and the simulated second at which each may be used again."""
    template_namespace: str = ""
    created_at: int = 0
    """Unix time; 0: with the world."""
    state: str = "ACTIVE"
    """ACTIVE, DISABLED by Meta, or DELETED."""
    gone: bool = False
    """Whether no partner reaches it any more: it was deleted, or its owner removed the partner."""

    @property
    def active(self) -> bool:
        """Whether a number is registered, which is what raises the quota."""
        for number in self.numbers:  # noqa: SIM110 (asked several times for every call, and thrice as fast)
            if number.registered:
                return True
        return False


@dataclass(slots=True, kw_only=True)
class Flow:
    """A WhatsApp Flow."""

    kind: ClassVar[str] = "flow"
    id: str
    waba_id: str
    name: str
    categories: tuple[str, ...]
    status: str = "DRAFT"
    json: str | None = None
    errors: tuple[dict[str, Any], ...] = ()
    """Validation errors of the JSON."""
    json_version: str | None = None
    data_api_version: str | None = None
    endpoint_uri: str | None = None
    application_id: str | None = None
    updated_at: int = 0
    preview_token: str = ""
    preview_until: int = 0
    """Unix time at which the preview's link ends."""


@dataclass(slots=True, kw_only=True)
class Upload:
    """A session of the Resumable Upload API."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    """How its bytes are written to JSON when it is kept."""

    kind: ClassVar[str] = "upload"
    id: str
    """With its `upload:`."""
    signature: str
    """What must come as `sig` with the id."""
    app_id: str
    file_name: str
    file_length: int
    file_type: str
    received: int = 0
    crc: int = 0
    """CRC-32 of what was received so far; the only checksum whose state is a number that can be kept."""
    digest: str = ""
    """CRC-32 of the file as hex, once all of it is there."""
    head: bytes = b""
    """The first bytes, from which an image's size can be told."""
    content_type: str | None = None
    """What the file is by its first bytes, once all of it is there."""
    pixels: tuple[int, ...] | None = None
    """An image's width and height."""
    handle: str | None = None
    opened_at: float = 0.0
    """Simulated second."""
    finished_at: float = 0.0
    """Simulated second at which the file was whole."""


@dataclass(slots=True, kw_only=True)
class Intent:
    """A wish to move a WABA to another solution."""

    kind: ClassVar[str] = "intent"
    id: str
    waba_id: str
    solution_id: str
    status: str = "INITIATED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signup:
    """An Embedded Signup that a customer finished in the browser; its code is what the server gets."""

    code: str = field(repr=False)
    app_id: str
    business_id: str
    waba_id: str
    number_id: str
    until: float
    """Simulated second at which the code ends."""
    used: bool = False
    earlier: int = 0
    """How many signups for the same WABA came before it."""


Node = App | Business | SystemUser | Credit | Allocation | Number | Waba | Flow | Upload | Intent | Template
"""Whatever an id in a path may stand for."""
