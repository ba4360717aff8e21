"""What people do with incidents: open, note, close. The product opens them by itself, too (`watch`)."""

from dataclasses import dataclass

from wabajobs.clock import Clock
from wabajobs.decisions import require_reason
from wabajobs.errors import InvalidRequest
from wabajobs.incidents.pack import Pack, pack
from wabajobs.incidents.report import Report, report
from wabajobs.ledger import Incident, Ledger
from wabajobs.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Incidents:
    """The diary of what goes wrong. Each method is one transaction of the ledger."""

    ledger: Ledger
    clock: Clock
    settings: Settings

    def open(self, *, reason: str, actor: str, app: str | None = None) -> Incident:
        """Open an incident of an app, or of all; `reason` says what is wrong.

        Raises `InvalidRequest` when one of the same is open already, or there is no such app.
        """
        require_reason(reason)
        if app is not None:
            self.settings.app(app)
        return self.ledger.incidents.open(app=app, title=reason.strip(), actor=actor, now=self.clock.now())

    def note(self, incident: int, text: str, *, actor: str) -> Incident:
        """Write something into an incident's diary. Raises `NotFound`, `InvalidRequest` for an empty text."""
        if not text.strip():
            raise InvalidRequest("a note of nothing is no note: say what has happened")
        return self.ledger.incidents.note(incident, text=text.strip(), actor=actor, now=self.clock.now())

    def close(self, incident: int, *, reason: str, actor: str, force: bool = False) -> Incident:
        """Close an incident. Raises `NotFound`, `InvalidRequest` when it is closed or an episode of it is on."""
        require_reason(reason)
        return self.ledger.incidents.close(
            incident, reason=reason.strip(), actor=actor, now=self.clock.now(), force=force
        )

    def get(self, incident: int) -> Incident:
        """Return an incident with its episodes and its diary. Raises `NotFound`."""
        return self.ledger.incidents.get(incident)

    def report(self, incident: int) -> Report:
        """Return what is to be told of an incident. Raises `NotFound`."""
        return report(self.ledger, incident, settings=self.settings, now=self.clock.now())

    def pack(self, incident: int, *, pseudonyms: bool = False) -> Pack:
        """Return what Meta is to be told of it; `pseudonyms` hides partners' names. Raises `NotFound`."""
        now = self.clock.now()
        return pack(self.ledger, incident, settings=self.settings, now=now, pseudonyms=pseudonyms)

    def find(self, *, open_only: bool = True, at_most: int = 50) -> list[Incident]:
        """Return incidents, the newest first."""
        return self.ledger.incidents.find(open_only=open_only, at_most=at_most)
