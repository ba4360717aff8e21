"""What people do with incidents: open, note, close. The product opens them by itself, too (`watch`)."""

from collections.abc import Collection
from dataclasses import dataclass

from wabajobs.clock import Clock
from wabajobs.decisions import require_reason
from wabajobs.errors import InvalidRequest
from wabajobs.ledger import Incident, Ledger


@dataclass(frozen=True, kw_only=True)
class Incidents:
    """The diary of what goes wrong. Each method is one transaction of the ledger."""

    ledger: Ledger
    clock: Clock
    apps: Collection[str]
    """The apps of the settings."""

    def open(self, *, reason: str, actor: str, app: str | None = None) -> Incident:
        """Open an incident of an app, or of all; `reason` says what is wrong.

        Raises `InvalidRequest` when one of the same is open already, or there is no such app.
        """
        require_reason(reason)
        if app is not None and app not in self.apps:
            raise InvalidRequest(f"app {app!r} is not configured (configured: {', '.join(self.apps) or 'none'})")
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

    def find(self, *, open_only: bool = True, at_most: int = 50) -> list[Incident]:
        """Return incidents, the newest first."""
        return self.ledger.incidents.find(open_only=open_only, at_most=at_most)
