"""What a request costs: how many calls Meta counts for it. The one table of it.

| request | calls |
|---|---|
| a batch | one for each request in it |
| `ids=a,b,c` | one for each id |
| any other, however many fields and pages it asks for | one |

Meta counts a request that it refuses like any other. So batches and `ids=` save round trips, not budget.

Source: developers.facebook.com/docs/graph-api/batch-requests and …/overview/rate-limiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wabajobs.graph.client import GraphRequest


def cost(request: GraphRequest) -> int:
    """Return how many calls Meta counts for a request."""
    return len(request.batch) or len(set(request.ids)) or 1
