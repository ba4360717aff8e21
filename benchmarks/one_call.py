"""A kind that makes one Graph call and is done."""

from typing import Any, Final

from wabajobs.capability import Capability, ServiceClass
from wabajobs.kinds import Kind, Step, Work


def call(work: Work) -> dict[str, Any]:
    """Read a WABA's name."""
    work.graph.get(work.operation.waba or "", fields="name")
    return {}


KIND: Final = Kind(
    name="one_call",
    summary="make one call",
    steps=(Step(name="call", run=call, capability=Capability.PROFILE),),
    service_class=ServiceClass.STANDARD,
)
"""Nothing is shared or kept in order: each operation is a call of its own."""
