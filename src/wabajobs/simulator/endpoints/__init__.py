"""The endpoints that exist: one module for each part of the API, each with its routes."""

from wabajobs.simulator.endpoints import (
    accounts,
    businesses,
    credit,
    flows,
    message_templates,
    numbers,
    profiles,
    registration,
    subscriptions,
    template_library,
    tokens,
    uploads,
)

ROUTES = (
    *message_templates.ROUTES,
    *template_library.ROUTES,
    *accounts.ROUTES,
    *businesses.ROUTES,
    *credit.ROUTES,
    *flows.ROUTES,
    *numbers.ROUTES,
    *profiles.ROUTES,
    *registration.ROUTES,
    *subscriptions.ROUTES,
    *tokens.ROUTES,
    *uploads.ROUTES,
)
"""Every endpoint of the Graph that the simulator knows."""
