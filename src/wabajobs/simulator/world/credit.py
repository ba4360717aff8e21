"""Lines of credit: shared with a customer's business, attached to its WABA, revoked.

https://developers.facebook.com/docs/whatsapp/solution-providers/share-and-revoke-credit-lines
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from wabajobs.simulator.errors import GraphError, bad_parameter
from wabajobs.simulator.world.nodes import Allocation, Business, Credit, Waba

if TYPE_CHECKING:
    from wabajobs.simulator.world.world import World


def allocations(
    world: World, credit: Credit, *, business_id: str | None = None, waba_id: str | None = None
) -> list[Allocation]:
    """What of a line is shared now, oldest first; all of it, or with one business, or for one WABA."""
    return [
        one
        for one in world.nodes.values()
        if isinstance(one, Allocation)
        and one.credit_id == credit.id
        and not one.deleted
        and (business_id is None or one.business_id == business_id)
        and (waba_id is None or one.waba_id == waba_id)
    ]


def share(world: World, credit: Credit, business: Business) -> Allocation:
    """Share a line with a business."""
    made = _made(world, credit, business.id)
    made.with_business = True
    return made


def share_and_attach(world: World, credit: Credit, waba: Waba, currency: str) -> tuple[Allocation, bool]:
    """Share a line with a WABA's business and let it pay for the WABA; and whether that is new.

    What a second share does no source tells; `credit_shared_again` decides.
    """
    there = allocations(world, credit, waba_id=waba.id)
    again = world.config.credit_shared_again
    if there and again == "refuse":
        raise bad_parameter("A credit line is already shared with this WhatsApp Business Account")
    if there and again == "same":
        return there[0], False
    made = _made(world, credit, waba.business_id)
    _attach(world, made, waba, currency)
    return made, True


def attach(world: World, credit: Credit, waba: Waba, currency: str) -> bool:
    """Let a line that is shared with the WABA's business pay for the WABA; whether that is new."""
    shared = allocations(world, credit, business_id=waba.business_id)
    if not shared:
        raise GraphError(
            message="(#100) The credit line is not shared with the business of this WhatsApp Business Account",
            code=100,
        )
    if waba.funding_id in {one.credential_id for one in shared} and waba.currency == currency:
        return False
    free = next((one for one in shared if one.waba_id is None), shared[0])
    _attach(world, free, waba, currency)
    return True


def revoke(world: World, allocation: Allocation) -> list[str]:
    """Take a share back, so that the WABAs that it pays for are without; what is without a share now.

    That is its WABA, and its business if it was shared with that first; unless another share serves them.
    """
    world.change(allocation).deleted = True
    for waba in world:
        if waba.funding_id == allocation.credential_id:
            world.change(waba).funding_id = None
    credit = Credit(id=allocation.credit_id, business_id="", name="")
    left = allocations(world, credit, business_id=allocation.business_id)
    bare = [allocation.business_id] if allocation.with_business and not left else []
    if allocation.waba_id and not any(one.waba_id == allocation.waba_id for one in left):
        bare.insert(0, allocation.waba_id)
    return bare


def _made(world: World, credit: Credit, business_id: str) -> Allocation:
    made = Allocation(id=world.fresh_id(), credit_id=credit.id, business_id=business_id)
    made.credential_id = world.fresh_id(Random(made.id))
    return world.add(made)


def _attach(world: World, allocation: Allocation, waba: Waba, currency: str) -> None:
    world.change(allocation)
    if allocation.waba_id is None:
        allocation.waba_id, allocation.currency = waba.id, currency
    world.change(waba).funding_id = allocation.credential_id
    waba.currency = currency
