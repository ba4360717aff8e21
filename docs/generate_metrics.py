"""Write docs/metrics.md from the catalogue of metrics: `python docs/generate_metrics.py`."""

import sys
from pathlib import Path
from typing import Final

from wabajobs.exposed.metrics import CATALOGUE

PAGE: Final = Path(__file__).with_name("metrics.md")

_HEAD: Final = """\
# Metrics

<!-- Written by docs/generate_metrics.py from src/wabajobs/exposed/metrics.py. Do not edit: run it again. -->

`wabajobs feeds` serves metrics for Prometheus at `/metrics`; `wabajobs up` starts it at
http://127.0.0.1:5556/metrics.

```console
$ wabajobs feeds --port=5556                                       # all of it, for this machine
$ wabajobs feeds --host=0.0.0.0 --port=5556 --metrics-port=5557   # the status page for all
```

Metrics name partners. So with a `--host` that others can reach they need a port of their own;
`--metrics-host` says on which address that is. One of these programs is enough for a site. It asks nobody but
the ledger and Redis.

| in `monitoring/` | |
|---|---|
| `prometheus.yml` | an example of Prometheus's configuration |
| `alerts.yml` | alert rules: what is wrong, and what to do |
| `alerts_test.yml` | their tests: `promtool test rules alerts_test.yml` |
| `grafana.json` | a dashboard: in Grafana, *Dashboards*, *Import* |

## What they cost

Nobody who asks causes a query. Every `[status_page] look_seconds` breakers, budgets, pauses and programs are
looked at, which is cheap. Operations are counted as well, but then not again for 200 times as long as that
took: with a million of them, every five minutes or so. `wabajobs_counted_timestamp_seconds` says when.

How many series there are is bounded by apps, queues and capabilities. No label names a WABA or an operation;
of partners, those are named who used most of an app's budget. All are gauges: they say how it is now. What
ended long ago is deleted from the ledger, so a count since ever would go down one day.

## The catalogue

"""

_TAIL: Final = """
Label values: `state` is an operation's state; `by` is what holds it (`pause`, `breaker`, `budget`, `gate`,
`meta`, `retry`, `retry_budget`, `worker`); `budget` and `scope` are `app` for the whole app, else a
capability; `class` is a class of service.

A metric of a part that cannot be asked is absent, and `wabajobs_reachable` says so. That is why
`WabajobsFeedsSilent` and `WabajobsUnreachable` stand first among the alerts.
"""


def page() -> str:
    """Return the whole page."""
    rows = ["| metric | labels | meaning |", "|---|---|---|"]
    rows += [
        f"| `{one.name}` | {', '.join(f'`{label}`' for label in one.labels) or '-'} | {one.meaning} |"
        for one in CATALOGUE
    ]
    return _HEAD + "\n".join(rows) + "\n" + _TAIL


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE} is written\n")
