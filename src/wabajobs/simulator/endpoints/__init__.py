"""The endpoints that exist: one module for each part of the API, each with its routes."""

from wabajobs.simulator.endpoints import accounts, message_templates, tokens

ROUTES = (*message_templates.ROUTES, *accounts.ROUTES, *tokens.ROUTES)
"""Every endpoint of the Graph that the simulator knows."""
