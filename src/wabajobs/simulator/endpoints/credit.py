"""Lines of credit: found, shared with a customer, attached to a WABA, revoked.

https://developers.facebook.com/docs/whatsapp/solution-providers/share-and-revoke-credit-lines
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from pydantic import Field

from wabajobs.simulator.errors import GraphError, bad_parameter, no_such_object
from wabajobs.simulator.fields import NodeType
from wabajobs.simulator.inputs import Input, ListInput, NodeInput, Text
from wabajobs.simulator.reading import edge_read, node_read
from wabajobs.simulator.routes import Context, Route
from wabajobs.simulator.world import Allocation, Business, Credit, Waba, credit

Currency = Literal["AUD", "EUR", "GBP", "IDR", "INR", "USD"]

_SCOPES = ("business_management",)


def _partners_only(context: Context) -> None:
    """A customer's token reaches no line of credit; what it is answered no source says."""
    if context.token and context.token.waba_ids is not None:
        raise no_such_object(context.call.method, context.call.segments[0])


# The line


CREDIT = NodeType[Credit](
    name="ExtendedCredit",
    fields={
        "id": lambda line: line.id,
        "legal_entity_name": lambda line: line.name,
        "owner_business": lambda line: {"id": line.business_id, "name": line.name},
    },
    defaults=("id", "legal_entity_name"),
)


def _lines(context: Context, _asked: ListInput) -> Sequence[Credit]:
    business = context.the(Business)
    return [node for node in (context.world.credit,) if node.business_id == business.id]


# What of it is shared


class _Shared(NamedTuple):
    """An allocation and what its fields need besides."""

    allocation: Allocation
    receiver: str
    """The receiving business's name."""


def _with_receiver(context: Context, allocation: Allocation) -> _Shared:
    business = context.world.nodes.get(allocation.business_id)
    return _Shared(allocation, business.name if isinstance(business, Business) else "")


ALLOCATION = NodeType[_Shared](
    name="ExtendedCreditAllocationConfig",
    fields={
        "id": lambda one: one.allocation.id,
        "receiving_business": lambda one: {"name": one.receiver, "id": one.allocation.business_id},
        "receiving_credential": lambda one: {"id": one.allocation.credential_id},
        "owning_credential": lambda one: {"id": one.allocation.credit_id},
        "request_status": lambda one: "DELETED" if one.allocation.deleted else "ACTIVE",
    },
    defaults=("id", "receiving_business"),
)


class AllocationsInput(ListInput):
    receiving_business_id: Text | None = Field(default=None, description="The customer's business")


def _allocations(context: Context, asked: AllocationsInput) -> Sequence[Allocation]:
    """What is shared now; whether Meta's list has revoked ones too is not documented."""
    _partners_only(context)
    return credit.allocations(context.world, context.the(Credit), business_id=asked.receiving_business_id)


# Sharing and revoking


class ShareInput(Input):
    receiving_business_id: Text = Field(description="The customer's business")


class AttachInput(Input):
    waba_id: Text = Field(description="The customer's WABA")
    waba_currency: Currency


def _waba(context: Context, waba_id: str) -> Waba:
    """The WABA that a parameter names, if the call's token may manage it."""
    node, token = context.world.node(waba_id), context.token
    if not isinstance(node, Waba) or node.gone or token is None:
        raise bad_parameter(f"Param waba_id must be the id of a WhatsApp Business Account - got {waba_id!r}")
    if token.waba_ids is None and token.type != "APP":
        reached = {"MANAGE", "FULL_CONTROL"} & set(node.assigned.get(token.user_id, ()))
    else:
        reached = {"MANAGE"} if context.world.may(token, node) else set()
    if not reached:
        raise GraphError(
            message=f"(#200) The user needs the MANAGE task on the WhatsApp Business Account {waba_id}",
            code=200,
            status=403,
        )
    return node


def share(context: Context, asked: ShareInput) -> dict[str, Any]:
    """Share a line of credit with a customer's business. Not idempotent."""
    _partners_only(context)
    business = context.world.nodes.get(asked.receiving_business_id)
    if not isinstance(business, Business) or business is context.world.business:
        raise bad_parameter("Param receiving_business_id must be the id of a customer's business")
    made = credit.share(context.world, context.the(Credit), business)
    context.effect("credit_shared", business.id, allocation=made.id)
    return {"success": True, "allocation_config_id": made.id}


def share_and_attach(context: Context, asked: AttachInput) -> dict[str, Any]:
    """Share a line of credit with a WABA and attach it. Not idempotent unless `credit_shared_again` says so."""
    _partners_only(context)
    waba = _waba(context, asked.waba_id)
    shared, fresh = credit.share_and_attach(context.world, context.the(Credit), waba, asked.waba_currency)
    if fresh:
        context.effect("credit_shared", waba.id, allocation=shared.id)
        context.effect("credit_attached", waba.id, allocation=shared.id, currency=asked.waba_currency)
    else:
        context.remarks.idle = True
    return {"allocation_config_id": shared.id, "waba_id": waba.id}


def attach(context: Context, asked: AttachInput) -> dict[str, Any]:
    """Attach a line of credit that is shared with the WABA's business to the WABA."""
    waba = _waba(context, asked.waba_id)
    if credit.attach(context.world, context.the(Credit), waba, asked.waba_currency):
        context.effect("credit_attached", waba.id, currency=asked.waba_currency)
    else:
        context.remarks.idle = True
    return {"success": True, "waba_id": waba.id}


def revoke(context: Context, _asked: Input) -> dict[str, Any]:
    """Take a share back; one that was taken back already stays so."""
    _partners_only(context)
    allocation = context.the(Allocation)
    if allocation.deleted:
        context.remarks.idle = True
        return {"success": True}
    bare = credit.revoke(context.world, allocation)
    # An effect on the allocation alone where another share still serves the WABA: that one stays in force.
    for subject in bare or [allocation.id]:
        context.effect("credit_revoked", subject, allocation=allocation.id)
    return {"success": True}


ROUTES = (
    Route(
        name="extendedcredits.list",
        method="GET",
        path="/{business}/extendedcredits",
        handler=edge_read(CREDIT, _lines),
        input=ListInput,
        capability="onboarding",
        charges="credit",
        scopes=_SCOPES,
    ),
    Route(
        name="credit.get",
        method="GET",
        path="/{credit}",
        handler=node_read(CREDIT, Credit),
        input=NodeInput,
        capability="onboarding",
        charges="credit",
        scopes=_SCOPES,
    ),
    Route(
        name="credit.allocations",
        method="GET",
        path="/{credit}/owning_credit_allocation_configs",
        handler=edge_read(ALLOCATION, _allocations, view=_with_receiver),
        input=AllocationsInput,
        capability="onboarding",
        charges="credit",
        scopes=_SCOPES,
    ),
    Route(
        name="credit.share_and_attach",
        method="POST",
        path="/{credit}/whatsapp_credit_sharing_and_attach",
        handler=share_and_attach,
        input=AttachInput,
        capability="onboarding",
        charges="credit",
        scopes=_SCOPES,
    ),
    Route(
        name="credit.share",
        method="POST",
        path="/{credit}/whatsapp_credit_sharing",
        handler=share,
        input=ShareInput,
        capability="onboarding",
        charges="credit",
        scopes=_SCOPES,
    ),
    Route(
        name="credit.attach",
        method="POST",
        path="/{credit}/whatsapp_credit_attach",
        handler=attach,
        input=AttachInput,
        capability="onboarding",
        charges="credit",
        scopes=_SCOPES,
    ),
    Route(
        name="allocation.get",
        method="GET",
        path="/{allocation}",
        handler=node_read(ALLOCATION, Allocation, view=_with_receiver),
        input=NodeInput,
        capability="onboarding",
        charges="credit",
        scopes=_SCOPES,
        admin=True,
    ),
    Route(
        name="allocation.delete",
        method="DELETE",
        path="/{allocation}",
        handler=revoke,
        capability="onboarding",
        charges="credit",
        scopes=_SCOPES,
        admin=True,
    ),
)
