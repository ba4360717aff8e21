"""A kind that does nothing: what is left is the price of the ledger, the dispatcher and Celery."""

from typing import Any, Final

from wabajobs.capability import Capability, ServiceClass
from wabajobs.kinds import Kind, Step, Work


def nothing(_work: Work) -> dict[str, Any]:
    """Call nobody."""
    return {}


KIND: Final = Kind(
    name="noop",
    summary="do nothing",
    # Every kind has to name what its first call needs; this one never makes a call.
    steps=(Step(name="nothing", run=nothing, capability=Capability.PROFILE),),
    service_class=ServiceClass.STANDARD,
    needs_waba=False,
)
