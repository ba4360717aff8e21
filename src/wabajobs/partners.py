"""Partners' weights and caps: what the configuration says, under what somebody has set at run time."""

from collections.abc import Mapping

from wabajobs.ledger import Ledger
from wabajobs.settings import PartnerSettings


class Partners:
    """How partners are served beside each other."""

    def __init__(self, ledger: Ledger, configured: Mapping[str, PartnerSettings]) -> None:
        """Begin with what is configured; `refresh` adds what the ledger has."""
        self._ledger = ledger
        self._configured = {name: (partner.weight, partner.at_most) for name, partner in configured.items()}
        self._weights: dict[str, float] = {}
        self.at_most: dict[str, int] = {}
        """How many operations of a partner may be out at once; nothing for those without a cap."""
        self._take({})

    def weight(self, partner: str) -> float:
        """Return how many turns a partner has for one of an ordinary one's."""
        return self._weights.get(partner, 1.0)

    def refresh(self) -> None:
        """Take over what is set in the ledger now."""
        self._take({one.partner: (one.weight, one.at_most) for one in self._ledger.shares.current()})

    def _take(self, set_now: Mapping[str, tuple[float, int | None]]) -> None:
        shares = {**self._configured, **set_now}
        self._weights = {name: weight for name, (weight, _) in shares.items()}
        self.at_most = {name: at_most for name, (_, at_most) in shares.items() if at_most is not None}
