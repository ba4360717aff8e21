"""The ledger: the truth about every operation, in SQL. Nothing else in the house knows SQL."""

from wabajobs.ledger.accepting import Accepted
from wabajobs.ledger.attempts import Ending
from wabajobs.ledger.cancelling import Cancelling
from wabajobs.ledger.database import Database
from wabajobs.ledger.dead import Dead
from wabajobs.ledger.decisions import DISPATCHER, DecisionRecords, Leaderships
from wabajobs.ledger.expiring import why as why_expired
from wabajobs.ledger.fleet import Fleet, Kept, Planned, Stale, Wish, Wishes
from wabajobs.ledger.history import Story
from wabajobs.ledger.lines import Line
from wabajobs.ledger.media import Media, MediaRecords
from wabajobs.ledger.news import News
from wabajobs.ledger.number_calls import NumberCalls
from wabajobs.ledger.operations import Operations
from wabajobs.ledger.request import NewOperation
from wabajobs.ledger.retention import Ages, Retention
from wabajobs.ledger.retrying import Retrying
from wabajobs.ledger.secrets import KnownSecret, SecretRecords
from wabajobs.ledger.selection import Selection
from wabajobs.ledger.shares import Setting, Share, Shares
from wabajobs.ledger.templates import Applied, Change, Did, TemplateList, TemplateMirror
from wabajobs.ledger.waking import RETRY_BUDGET, DueRetry


class Ledger:
    """Everything that is kept: operations, people's decisions, leaderships, the fleet and its templates."""

    def __init__(self, database: Database) -> None:
        """Gather the records kept in `database`."""
        self.database = database
        self.operations = Operations(database)
        self.decisions = DecisionRecords(database)
        self.leaderships = Leaderships(database)
        self.shares = Shares(database)
        self.templates = TemplateMirror(database)
        self.retention = Retention(database)
        self.fleet = Fleet(database, self.operations)
        self.secrets = SecretRecords(database)
        self.number_calls = NumberCalls(database)
        self.media = MediaRecords(database)


__all__ = [
    "DISPATCHER",
    "RETRY_BUDGET",
    "Accepted",
    "Ages",
    "Applied",
    "Cancelling",
    "Change",
    "Database",
    "Dead",
    "Did",
    "DueRetry",
    "Ending",
    "Fleet",
    "Kept",
    "KnownSecret",
    "Ledger",
    "Line",
    "Media",
    "MediaRecords",
    "NewOperation",
    "News",
    "NumberCalls",
    "Planned",
    "Retention",
    "Retrying",
    "SecretRecords",
    "Selection",
    "Setting",
    "Share",
    "Stale",
    "Story",
    "TemplateList",
    "TemplateMirror",
    "Wish",
    "Wishes",
    "why_expired",
]
