"""A WABA itself, who is assigned to it, and its move to another solution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from wabajobs.simulator.calls import listed
from wabajobs.simulator.errors import GraphError, bad_parameter
from wabajobs.simulator.fields import NodeType
from wabajobs.simulator.inputs import Flag, Input, ListInput, NodeInput, Object, Text
from wabajobs.simulator.reading import edge_read, node_read
from wabajobs.simulator.routes import Context, Route
from wabajobs.simulator.world import Business, Intent, Waba, accounts

Task = Literal[
    "MANAGE",
    "DEVELOP",
    "MANAGE_TEMPLATES",
    "MANAGE_PHONE",
    "MANAGE_PHONE_ASSETS",
    "VIEW_PHONE_ASSETS",
    "VIEW_TEMPLATES",
    "VIEW_COST",
    "VIEW_INSIGHTS",
    "MESSAGING",
    "MANAGE_BILLING",
    "MANAGE_USERS",
    "MANAGE_EXTENSIONS",
    "FULL_CONTROL",
]
"""What a user that is assigned to a WABA may be allowed to do."""


def words(value: Any) -> Any:
    """The texts of a list in any of the Graph's shapes, for a list of an enumeration."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return [word for item in value for word in listed(item)]
    try:
        return listed(value)
    except GraphError as error:
        raise ValueError(error.message.removeprefix("(#100) ")) from error


# The WABA


class Account(NamedTuple):
    """A WABA and what its fields need besides."""

    waba: Waba
    owner: Business
    owned: bool
    """Whether the partner owns it itself."""


def account_of(context: Context, waba: Waba) -> Account:
    """A WABA as its fields see it."""
    owner = context.world.seen(accounts.owner_of(context.world, waba), context.as_of)
    return Account(waba, owner, waba.business_id == context.world.business.id)


def _health(account: Account) -> dict[str, Any]:
    """Whether messages can be sent, and for whose sake not.

    https://developers.facebook.com/docs/whatsapp/cloud-api/health-status
    """
    waba, owner = account.waba, account.owner
    errors: list[dict[str, Any]] = []
    if waba.state != "ACTIVE":
        errors.append(
            _health_error(131031, "The WhatsApp Business Account has been disabled.", "Ask for a review.")
        )
    if waba.funding_id is None:
        errors.append(
            _health_error(141006, "There is an error with the payment method.", "Add a payment method.")
        )
    entity: dict[str, Any] = {"entity_type": "WABA", "id": waba.id, "can_send_message": "AVAILABLE"}
    if errors:
        entity.update(can_send_message="BLOCKED", errors=errors)
    entities = [entity]
    if not owner.verified:
        unverified = _health_error(
            141010, "The business has not passed business verification.", "Verify the business."
        )
        entities.append(
            {
                "entity_type": "BUSINESS",
                "id": owner.id,
                "can_send_message": "LIMITED",
                "errors": [unverified],
            }
        )
    ranks = ("AVAILABLE", "LIMITED", "BLOCKED")
    worst = max(entities, key=lambda one: ranks.index(one["can_send_message"]))["can_send_message"]
    return {"can_send_message": worst, "entities": entities}


def _health_error(code: int, description: str, solution: str) -> dict[str, Any]:
    return {"error_code": code, "error_description": description, "possible_solution": solution}


def _owner_info(account: Account) -> dict[str, Any]:
    return {"name": account.owner.name, "id": account.owner.id}


WABA = NodeType[Account](
    name="WhatsAppBusinessAccount",
    fields={
        "id": lambda one: one.waba.id,
        "name": lambda one: one.waba.name,
        "currency": lambda one: one.waba.currency,
        "timezone_id": lambda one: one.waba.timezone_id,
        "country": lambda one: one.waba.country,
        "account_review_status": lambda one: one.waba.review,
        "business_verification_status": lambda one: "verified" if one.owner.verified else "not_verified",
        "ownership_type": lambda one: "SELF" if one.owned else "CLIENT_OWNED",
        "owner_business_info": _owner_info,
        "owner_business": _owner_info,
        "on_behalf_of_business_info": _owner_info,
        "primary_funding_id": lambda one: one.waba.funding_id,
        "message_template_namespace": lambda one: one.waba.template_namespace,
        "status": lambda one: one.waba.state,
        "health_status": _health,
        "creation_time": lambda one: one.waba.created_at or None,
        "is_enabled_for_insights": lambda one: one.waba.settings.get("is_enabled_for_insights", False),
        "disable_marketing_messages_on_cloud_api": lambda one: one.waba.settings.get(
            "disable_marketing_messages_on_cloud_api", False
        ),
        "template_auto_archival_enabled": lambda one: one.waba.settings.get(
            "template_auto_archival_enabled", True
        ),
        "creative_optimizations_enrollment": lambda one: one.waba.settings.get(
            "creative_optimizations_enrollment"
        ),
        "degrees_of_freedom_spec": lambda one: one.waba.settings.get("degrees_of_freedom_spec"),
        "marketing_messages_lite_api_status": lambda _: "ELIGIBLE",
        "marketing_messages_onboarding_status": lambda one: (
            "ELIGIBLE" if one.waba.funding_id else "PENDING_VALID_PAYMENT_METHOD"
        ),
        "whatsapp_business_manager_messaging_limit": lambda _: "TIER_2K",
    },
    defaults=("id", "name", "currency", "timezone_id", "message_template_namespace"),
    kind="waba",
)


class SettingsInput(Input):
    is_enabled_for_insights: Flag | None = Field(default=None, description="Confirm template analytics")
    disable_marketing_messages_on_cloud_api: Flag | None = None
    template_auto_archival_enabled: Flag | None = None
    creative_optimizations_enrollment: Text | None = None
    degrees_of_freedom_spec: Object | None = None
    name: Text | None = Field(default=None, min_length=1, max_length=100)
    timezone_id: Text | None = Field(default=None, pattern=r"^[0-9]{1,4}$")


def change(context: Context, asked: SettingsInput) -> dict[str, Any]:
    """Change settings of a WABA."""
    waba = context.the(Waba)
    settings = asked.model_dump(exclude_none=True)
    if accounts.configure(context.world, waba, settings):
        context.effect("waba_changed", waba.id, settings=sorted(settings))
    else:
        context.remarks.idle = True
    return {"success": True}


# Who is assigned


class AssignedUsersInput(ListInput):
    business: Text = Field(description="The business whose users are asked for")


class AssignInput(Input):
    user: Text = Field(description="A system user's id")
    tasks: Annotated[list[Task], BeforeValidator(words), Field(min_length=1)]


class UnassignInput(Input):
    user: Text = Field(description="A system user's id")


USER = NodeType[dict[str, Any]](
    name="SystemUser",
    fields={
        "id": lambda user: user["id"],
        "name": lambda user: user["name"],
        "tasks": lambda user: user.get("tasks"),
        "role": lambda user: user.get("role"),
        "business": lambda user: user["business"],
    },
    defaults=("id", "name", "tasks", "role"),
)


def _assigned(context: Context, asked: AssignedUsersInput) -> Sequence[dict[str, Any]]:
    world = context.world
    business = world.node(asked.business)
    if not isinstance(business, Business):
        raise bad_parameter(f"Param business must be the id of a business - got {asked.business!r}")
    if business is not world.business:
        return []
    names = accounts.system_users(world)
    info = {"id": business.id, "name": business.name}
    return [
        {"id": user, "name": names.get(user, user), "tasks": list(tasks), "business": info}
        for user, tasks in context.seen(Waba).assigned.items()
    ]


def assign(context: Context, asked: AssignInput) -> dict[str, Any]:
    """Assign a system user to a WABA.

    https://developers.facebook.com/docs/whatsapp/solution-providers/manage-system-users
    """
    waba = context.the(Waba)
    if accounts.assign(context.world, waba, asked.user, tuple(dict.fromkeys(asked.tasks))):
        context.effect("user_assigned", waba.id, user=asked.user, tasks=asked.tasks)
    else:
        context.remarks.idle = True
    return {"success": True}


def unassign(context: Context, asked: UnassignInput) -> dict[str, Any]:
    """Take a system user off a WABA."""
    waba = context.the(Waba)
    if accounts.unassign(context.world, waba, asked.user):
        context.effect("user_unassigned", waba.id, user=asked.user)
    else:
        context.remarks.idle = True
    return {"success": True}


# Moving to another solution


class IntentInput(Input):
    solution_id: Text | None = Field(default=None, min_length=1, description="The solution to move to")
    app_id: Text | None = Field(default=None, min_length=1, description="Or the app to move to")


INTENT = NodeType[Intent](
    name="WhatsAppBusinessSolutionMigrationIntent",
    fields={
        "id": lambda intent: intent.id,
        "status": lambda intent: intent.status,
        "solution": lambda intent: {"id": intent.solution_id},
    },
    defaults=("id", "status"),
)


def intend(context: Context, asked: IntentInput) -> dict[str, Any]:
    """Wish to move a WABA to another solution; its owner decides.

    The guide answers the id alone, Meta's OpenAPI the other fields; all come here.
    https://developers.facebook.com/docs/whatsapp/solution-providers/support
    """
    target = asked.solution_id or asked.app_id
    if target is None:
        raise bad_parameter("The parameter solution_id is required.")
    intent, subject = accounts.intend(context.world, context.the(Waba), target)
    context.effect("migration_intended", subject, intent=intent.id)
    return {"id": intent.id, "success": True, "migration_intent_id": intent.id, "status": intent.status}


ROUTES = (
    Route(
        name="waba.get",
        method="GET",
        path="/{waba}",
        handler=node_read(WABA, Waba, view=account_of),
        input=NodeInput,
        capability="onboarding",
        charges="waba",
    ),
    Route(
        name="waba.change",
        method="POST",
        path="/{waba}",
        handler=change,
        input=SettingsInput,
        capability="onboarding",
    ),
    Route(
        name="assigned_users.list",
        method="GET",
        path="/{waba}/assigned_users",
        handler=edge_read(USER, _assigned),
        input=AssignedUsersInput,
        capability="onboarding",
        charges="waba",
        admin=True,
    ),
    Route(
        name="assigned_users.add",
        method="POST",
        path="/{waba}/assigned_users",
        handler=assign,
        input=AssignInput,
        capability="onboarding",
        charges="waba",
        admin=True,
    ),
    Route(
        name="assigned_users.remove",
        method="DELETE",
        path="/{waba}/assigned_users",
        handler=unassign,
        input=UnassignInput,
        capability="onboarding",
        charges="waba",
        admin=True,
    ),
    Route(
        name="solution_migration_intent.set",
        method="POST",
        path="/{waba}/set_solution_migration_intent",
        handler=intend,
        input=IntentInput,
        capability="onboarding",
    ),
    Route(
        name="solution_migration_intent.get",
        method="GET",
        path="/{intent}",
        handler=node_read(INTENT, Intent),
        input=NodeInput,
        capability="onboarding",
    ),
)
