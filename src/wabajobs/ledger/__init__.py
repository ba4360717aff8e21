"""The ledger: the truth about every operation, in SQL. Nothing else in the house knows SQL."""

from wabajobs.ledger.accepting import Accepted, NewOperation
from wabajobs.ledger.conditions import Need
from wabajobs.ledger.database import Database
from wabajobs.ledger.decisions import DISPATCHER, DecisionRecords, Leaderships
from wabajobs.ledger.fleet import Fleet, Kept, Planned, Stale, Wish, Wishes
from wabajobs.ledger.history import Story
from wabajobs.ledger.news import News
from wabajobs.ledger.operations import Operations
from wabajobs.ledger.templates import Applied, Change, Did, TemplateList, TemplateMirror


class Ledger:
    """Everything that is kept: operations, people's decisions, leaderships, the fleet and its templates."""

    def __init__(self, database: Database) -> None:
        """Gather the records kept in `database`."""
        self.database = database
        self.operations = Operations(database)
        self.decisions = DecisionRecords(database)
        self.leaderships = Leaderships(database)
        self.templates = TemplateMirror(database)
        self.fleet = Fleet(database, self.operations)


__all__ = [
    "DISPATCHER",
    "Accepted",
    "Applied",
    "Change",
    "Database",
    "Did",
    "Fleet",
    "Kept",
    "Ledger",
    "Need",
    "NewOperation",
    "News",
    "Planned",
    "Stale",
    "Story",
    "TemplateList",
    "TemplateMirror",
    "Wish",
    "Wishes",
]
