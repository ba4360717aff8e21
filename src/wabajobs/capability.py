"""Capabilities: the parts of the Graph API that fail, and recover, as one.

A circuit breaker stands per app and per (app, capability). So template reads go on while uploads
are down.
"""

from enum import StrEnum


class Capability(StrEnum):
    """A part of the Graph API that fails and recovers as one."""

    TEMPLATE_READS = "template_reads"
    TEMPLATE_WRITES = "template_writes"
    UPLOADS = "uploads"
    PROFILE = "profile"
    PHONE_NUMBERS = "phone_numbers"
    ONBOARDING = "onboarding"
    FLOWS = "flows"
    SUBSCRIPTIONS = "subscriptions"


class ServiceClass(StrEnum):
    """Who waits for an operation. People are served before robots, from a reserve robots cannot touch."""

    INTERACTIVE = "interactive"
    """Somebody waits in the Hub."""
    STANDARD = "standard"
    """Nobody waits at a screen, but it was asked for."""
    BACKGROUND = "background"
    """Upkeep, such as the fleet's template syncs."""

    @property
    def rank(self) -> int:
        """Serving order: 0 first."""
        return list(ServiceClass).index(self)
