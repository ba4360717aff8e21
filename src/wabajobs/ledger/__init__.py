"""The ledger: the truth about every operation, in SQL. Nothing else in the house knows SQL."""

from wabajobs.ledger.accepting import Accepted
from wabajobs.ledger.attempts import Ending
from wabajobs.ledger.database import Database
from wabajobs.ledger.decisions import DISPATCHER, DecisionRecords, Leaderships
from wabajobs.ledger.history import Story
from wabajobs.ledger.lines import Line
from wabajobs.ledger.operations import Operations
from wabajobs.ledger.request import NewOperation
from wabajobs.ledger.shares import Share, Shares
from wabajobs.ledger.templates import Change, TemplateList, TemplateMirror


class Ledger:
    """Everything that is kept: operations, people's decisions, leaderships and the mirror of templates."""

    def __init__(self, database: Database) -> None:
        """Gather the records kept in `database`."""
        self.database = database
        self.operations = Operations(database)
        self.decisions = DecisionRecords(database)
        self.leaderships = Leaderships(database)
        self.shares = Shares(database)
        self.templates = TemplateMirror(database)


__all__ = [
    "DISPATCHER",
    "Accepted",
    "Change",
    "Database",
    "Ending",
    "Ledger",
    "Line",
    "NewOperation",
    "Share",
    "Story",
    "TemplateList",
    "TemplateMirror",
]
