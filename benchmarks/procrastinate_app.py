"""Procrastinate, for comparison: a queue on PostgreSQL alone. Nothing of ours in it."""

import os

from procrastinate import App, PsycopgConnector

app = App(connector=PsycopgConnector(conninfo=os.environ.get("BENCH_PG_URL", "")))


@app.task(name="noop")
def noop() -> None:
    """Do nothing, in a thread: as our steps, and whoever calls with requests."""
