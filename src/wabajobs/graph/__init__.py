"""The HTTP side: one request to Meta's Graph API at a time, errors classified, usage read."""

from wabajobs.graph.activity import shown_activity
from wabajobs.graph.client import LARGEST_ANSWER, MOST_AT_ONCE, Credentials, Exchange, GraphClient, GraphRequest
from wabajobs.graph.codes import CODES, RANGES, Known, classify, known
from wabajobs.graph.cost import cost
from wabajobs.graph.usage import Usage, read_usage

__all__ = [
    "CODES",
    "LARGEST_ANSWER",
    "MOST_AT_ONCE",
    "RANGES",
    "Credentials",
    "Exchange",
    "GraphClient",
    "GraphRequest",
    "Known",
    "Usage",
    "classify",
    "cost",
    "known",
    "read_usage",
    "shown_activity",
]
