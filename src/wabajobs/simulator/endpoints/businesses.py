"""A business portfolio, and the lists of what it has: WABAs, system users."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import Field

from wabajobs.simulator.endpoints.accounts import USER, WABA, account_of
from wabajobs.simulator.errors import bad_parameter
from wabajobs.simulator.fields import NodeType
from wabajobs.simulator.inputs import ListInput, NodeInput, Objects
from wabajobs.simulator.reading import edge_read, node_read
from wabajobs.simulator.routes import Context, Route
from wabajobs.simulator.world import WORLD_EPOCH, Business, SystemUser, Waba
from wabajobs.simulator.world.accounts import system_users


def _health(business: Business) -> dict[str, Any]:
    word = "AVAILABLE" if business.verified else "LIMITED"
    entity = {"entity_type": "BUSINESS", "id": business.id, "can_send_message": word}
    return {"can_send_message": word, "entities": [entity]}


BUSINESS = NodeType[Business](
    name="Business",
    fields={
        "id": lambda business: business.id,
        "name": lambda business: business.name,
        "verification_status": lambda business: "verified" if business.verified else "not_verified",
        "health_status": _health,
        "whatsapp_business_manager_messaging_limit": lambda _: "TIER_2K",
    },
    defaults=("id", "name"),
)


class WabasInput(ListInput):
    filtering: Objects | None = Field(
        default=None, description='[{"field":"creation_time","operator":"GREATER_THAN","value":1700000000}]'
    )
    sort: Literal["creation_time_ascending", "creation_time_descending"] | None = None


def _created(waba: Waba) -> int:
    return waba.created_at or WORLD_EPOCH


def _filtered(wabas: list[Waba], filtering: list[dict[str, Any]]) -> list[Waba]:
    for one in filtering:
        if one.get("field") != "creation_time":
            raise bad_parameter("Filtering field must be creation_time")
        try:
            moment = int(str(one.get("value"))[:15])
        except ValueError:
            raise bad_parameter("Filtering value must be a Unix time") from None
        match one.get("operator"):
            case "GREATER_THAN":
                wabas = [waba for waba in wabas if _created(waba) > moment]
            case "LESS_THAN":
                wabas = [waba for waba in wabas if _created(waba) < moment]
            case _:
                raise bad_parameter("Filtering operator must be one of {GREATER_THAN, LESS_THAN}")
    return wabas


def _wabas(belongs: Callable[[Context, Business, Waba], bool]) -> Callable[[Context, WabasInput], list[Waba]]:
    def listed(context: Context, asked: WabasInput) -> list[Waba]:
        world, business = context.world, context.the(Business)
        wabas = [waba for waba in world if not waba.gone and belongs(context, business, waba)]
        if context.as_of is not None:
            moment = world.unix() - world.now() + context.as_of
            wabas = [waba for waba in wabas if waba.created_at <= moment]
        if context.token and context.token.waba_ids is not None:
            wabas = [waba for waba in wabas if waba.id in context.token.waba_ids]
        wabas = _filtered(wabas, asked.filtering or [])
        return wabas[::-1] if asked.sort == "creation_time_descending" else wabas

    return listed


def _is_client(context: Context, business: Business, waba: Waba) -> bool:
    """Whether a customer shared the WABA with this business, which is the partner."""
    return business is context.world.business and waba.business_id != business.id


def _is_owned(_context: Context, business: Business, waba: Waba) -> bool:
    return waba.business_id == business.id


def _assigned(context: Context, _asked: ListInput) -> Sequence[Waba]:
    user = context.the(SystemUser)
    seen = ((waba, context.world.seen(waba, context.as_of)) for waba in context.world if not waba.gone)
    return [waba for waba, as_it_was in seen if user.id in as_it_was.assigned]


def _user(context: Context, user: SystemUser) -> dict[str, Any]:
    business = context.world.business
    return {
        "id": user.id,
        "name": user.name,
        "role": "ADMIN",
        "business": {"id": business.id, "name": business.name},
    }


def _system_users(context: Context, _asked: ListInput) -> Sequence[dict[str, Any]]:
    business = context.the(Business)
    if business is not context.world.business:
        return []
    users = (context.world.nodes[user_id] for user_id in system_users(context.world))
    return [_user(context, user) for user in users if isinstance(user, SystemUser)]


ROUTES = (
    Route(
        name="business.get",
        method="GET",
        path="/{business}",
        handler=node_read(BUSINESS, Business),
        input=NodeInput,
        capability="onboarding",
        scopes=("business_management", "whatsapp_business_management"),
    ),
    Route(
        name="client_whatsapp_business_accounts.list",
        method="GET",
        path="/{business}/client_whatsapp_business_accounts",
        handler=edge_read(WABA, _wabas(_is_client), most=100, view=account_of),
        input=WabasInput,
        capability="onboarding",
    ),
    Route(
        name="owned_whatsapp_business_accounts.list",
        method="GET",
        path="/{business}/owned_whatsapp_business_accounts",
        handler=edge_read(WABA, _wabas(_is_owned), most=100, view=account_of),
        input=WabasInput,
        capability="onboarding",
    ),
    Route(
        name="system_users.list",
        method="GET",
        path="/{business}/system_users",
        handler=edge_read(USER, _system_users),
        input=ListInput,
        capability="onboarding",
        scopes=("business_management",),
    ),
    Route(
        name="system_user.get",
        method="GET",
        path="/{system_user}",
        handler=node_read(USER, SystemUser, view=_user),
        input=NodeInput,
        capability="onboarding",
        scopes=("business_management",),
    ),
    Route(
        name="assigned_whatsapp_business_accounts.list",
        method="GET",
        path="/{system_user}/assigned_whatsapp_business_accounts",
        handler=edge_read(WABA, _assigned, most=100, view=account_of),
        input=ListInput,
        capability="onboarding",
    ),
)
