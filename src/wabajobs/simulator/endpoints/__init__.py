"""The endpoints that exist: one module for each part of the API, each with its routes."""

from wabajobs.simulator.endpoints import (
    accounts,
    app_subscriptions,
    businesses,
    credit,
    encryption,
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
    *app_subscriptions.ROUTES,
    *businesses.ROUTES,
    *credit.ROUTES,
    *encryption.ROUTES,
    *flows.ROUTES,
    *numbers.ROUTES,
    *profiles.ROUTES,
    *registration.ROUTES,
    *subscriptions.ROUTES,
    *tokens.ROUTES,
    *uploads.ROUTES,
)
"""Every endpoint of the Graph that the simulator knows."""
