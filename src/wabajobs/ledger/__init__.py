"""The ledger: the truth about every operation, in SQL. Nothing else in the house knows SQL."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from wabajobs.ledger.accepting import Accepted
from wabajobs.ledger.accounts import Account, AccountNews, Accounts, Heard, Standing, Taken
from wabajobs.ledger.announcements import Announcement, Announcements, Severity, Stage
from wabajobs.ledger.attempts import Ending
from wabajobs.ledger.audit import Audit, Decision
from wabajobs.ledger.callbacks import Backlog, Callbacks, Delivery, Missed
from wabajobs.ledger.cancelling import Cancelling
from wabajobs.ledger.census import Part, is_fine, less
from wabajobs.ledger.database import Database
from wabajobs.ledger.dead import Dead
from wabajobs.ledger.decisions import DISPATCHER, DecisionRecords, Leaderships
from wabajobs.ledger.expiring import why as why_expired
from wabajobs.ledger.fleet import Fleet, Kept, Planned, Stale, Wish, Wishes
from wabajobs.ledger.happenings import Happening, Happenings, Refusals, Sight
from wabajobs.ledger.history import Story
from wabajobs.ledger.homes import Home, Homes
from wabajobs.ledger.impact import Impact, Impacts, Stops
from wabajobs.ledger.incidents import Alarm, Condition, DueAlarm, Episode, Incident, Incidents, Note, Rules, Seen
from wabajobs.ledger.lines import Line
from wabajobs.ledger.media import Media, MediaRecords
from wabajobs.ledger.news import Applied, Did, News
from wabajobs.ledger.number_calls import NumberCalls
from wabajobs.ledger.operations import Operations
from wabajobs.ledger.outbox import Outbox
from wabajobs.ledger.position import Neighbour, Position
from wabajobs.ledger.request import NewOperation
from wabajobs.ledger.retention import Ages, Retention
from wabajobs.ledger.retrying import Retrying
from wabajobs.ledger.routes import Candidate, Route, Routes
from wabajobs.ledger.samples import Counted, Late, QueueSample, Sample, Samples
from wabajobs.ledger.secrets import KnownSecret, SecretRecords
from wabajobs.ledger.selection import Selection
from wabajobs.ledger.shares import Setting, Share, Shares
from wabajobs.ledger.spending import Spending, Spent, SpentThen, Used, Who
from wabajobs.ledger.templates import Change, TemplateList, TemplateMirror
from wabajobs.ledger.waking import RETRY_BUDGET, DueRetry
from wabajobs.settings import PlannerSettings


class Ledger:
    """Everything that is kept: operations, people's decisions, leaderships, the fleet and its templates."""

    def __init__(self, database: Database) -> None:
        """Gather the records kept in `database`."""
        self.database = database
        self.operations = Operations(database)
        self.decisions = DecisionRecords(database)
        self.audit = Audit(database)
        self.leaderships = Leaderships(database)
        self.shares = Shares(database)
        self.templates = TemplateMirror(database)
        self.retention = Retention(database)
        self.fleet = Fleet(database, self.operations)
        self.secrets = SecretRecords(database)
        self.number_calls = NumberCalls(database)
        self.media = MediaRecords(database)
        self.outbox = Outbox(database)
        self.accounts = Accounts(database)
        self.homes = Homes(database)
        self.routes = Routes(database)
        self.callbacks = Callbacks(database)
        self.announcements = Announcements(database)
        self.happenings = Happenings(database)
        self.samples = Samples(database)
        self.spending = Spending(database)
        self.incidents = Incidents(database)
        self.impacts = Impacts(database)

    def apply(self, told: Sequence[News | AccountNews], *, now: datetime, planner: PlannerSettings) -> Taken:
        """Take in what webhooks tell of templates and accounts; what was applied is in the same order."""
        of_templates = [one for one in told if isinstance(one, News)]
        of_accounts = [one for one in told if isinstance(one, AccountNews)]
        applied = iter(self.templates.apply(of_templates, now=now, planner=planner)) if of_templates else iter(())
        taken = self.accounts.apply(of_accounts, now=now, planner=planner) if of_accounts else Taken()
        of_them = iter(taken.applied)
        in_order = [next(applied if isinstance(one, News) else of_them) for one in told]
        return replace(taken, applied=in_order)


__all__ = [
    "DISPATCHER",
    "RETRY_BUDGET",
    "Accepted",
    "Account",
    "AccountNews",
    "Accounts",
    "Ages",
    "Alarm",
    "Announcement",
    "Announcements",
    "Applied",
    "Audit",
    "Backlog",
    "Callbacks",
    "Cancelling",
    "Candidate",
    "Change",
    "Condition",
    "Counted",
    "Database",
    "Dead",
    "Decision",
    "Delivery",
    "Did",
    "DueAlarm",
    "DueRetry",
    "Ending",
    "Episode",
    "Fleet",
    "Happening",
    "Happenings",
    "Heard",
    "Home",
    "Homes",
    "Impact",
    "Impacts",
    "Incident",
    "Incidents",
    "Kept",
    "KnownSecret",
    "Late",
    "Ledger",
    "Line",
    "Media",
    "MediaRecords",
    "Missed",
    "Neighbour",
    "NewOperation",
    "News",
    "Note",
    "NumberCalls",
    "Outbox",
    "Part",
    "Planned",
    "Position",
    "QueueSample",
    "Refusals",
    "Retention",
    "Retrying",
    "Route",
    "Routes",
    "Rules",
    "Sample",
    "Samples",
    "SecretRecords",
    "Seen",
    "Selection",
    "Setting",
    "Severity",
    "Share",
    "Sight",
    "Spending",
    "Spent",
    "SpentThen",
    "Stage",
    "Stale",
    "Standing",
    "Stops",
    "Story",
    "Taken",
    "TemplateList",
    "TemplateMirror",
    "Used",
    "Who",
    "Wish",
    "Wishes",
    "is_fine",
    "less",
    "why_expired",
]
