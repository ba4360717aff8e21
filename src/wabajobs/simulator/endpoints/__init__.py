"""The endpoints that exist, one line each."""

from wabajobs.simulator.endpoints import accounts, message_templates, tokens
from wabajobs.simulator.routes import Route

ROUTES = (
    Route(
        name="message_templates.list",
        method="GET",
        path="/{waba}/message_templates",
        handler=message_templates.list_templates,
        per_waba=True,
    ),
    Route(name="waba.get", method="GET", path="/{waba}", handler=accounts.get_waba, per_waba=True),
    Route(
        name="phone_numbers.list",
        method="GET",
        path="/{waba}/phone_numbers",
        handler=accounts.list_numbers,
        per_waba=True,
    ),
    Route(name="debug_token", method="GET", path="/debug_token", handler=tokens.debug_token),
)
"""Every endpoint of the Graph that the simulator knows."""
