"""The drill as one HTML file: no network, readable on a phone, in the light and in the dark."""

import base64
from collections.abc import Iterable
from html import escape
from pathlib import Path

from wabajobs.drills import drawing, september
from wabajobs.drills.claims import Claims
from wabajobs.drills.drawing import DARK, LIGHT, Panel, Shown

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d2530; --faint: #5f6b7a; --line: #d9dee5; --bad: #c8141f; --good: #1c7a3e; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #12161d; --ink: #e4e8ee; --faint: #9aa5b4; --line: #2c3440; --bad: #ff4d57; --good: #57c785; }
}
body { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 70rem; padding: 1rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; }
p { max-width: 46rem; } .faint { color: var(--faint); }
img { width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .4rem .6rem .4rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; }
.held { color: var(--good); } .broken { color: var(--bad); font-weight: bold; }
.big { display: flex; flex-wrap: wrap; gap: 1rem 3rem; margin: 1.2rem 0; }
.big div { min-width: 9rem; } .big b { display: block; font-size: 2rem; line-height: 1.1; }
.big .plain b { color: var(--bad); }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid var(--line); border-radius: 6px; padding: .8rem; font-size: .85rem; }
"""


def write(shown: Shown, claims: Claims, path: Path, *, counted: bool, report: str = "") -> Path:
    """Write the page. `report` is the incident report that the product has written, as Markdown."""
    plain, ours = shown.plain, shown.product
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width, initial-scale=1">',
        f"<title>September 2024, replayed</title><style>{_STYLE}</style>",
        "<h1>September 2024, replayed</h1>",
        "<p>Four times in eighteen days, Meta's limit of one app was lower than what was asked for. Here are those"
        " hours again, twice: with Celery as it is usually written, and with wabajobs. The same requests, the same"
        " Meta, and nobody touches anything on either side.</p>",
        '<div class="big">',
        *_big("plain", "plain Celery lost", f"{plain.lost:,}", f"of {len(plain.requests):,} requests"),
        *_big("ours", "wabajobs lost", f"{ours.lost:,}", f"of {len(ours.requests):,} requests"),
        *_big("plain", "refused: plain Celery", f"{plain.refused:,}", f"of {len(plain.calls):,} calls"),
        *_big("ours", "refused: wabajobs", f"{ours.refused:,}", f"of {len(ours.calls):,} calls"),
        "</div>",
        *(part for panel in drawing.PANELS for part in _row(panel, shown)),
        "<p class=faint>Shaded: Meta's limit is below what is asked for; reddish: only uploads are still limited."
        " Dotted lines: days, or hours in the middle of a long episode, are left out.</p>",
        "<h2>What was claimed, and what Meta's own record says</h2>",
        *_claims(claims),
        "<h2>The four episodes</h2>",
        *_episodes(),
        *(_report(report) if report else ()),
        "<h2>How it was done</h2>",
        _how(shown, counted=counted),
        "</html>",
    ]
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def _big(which: str, name: str, number: str, more: str) -> Iterable[str]:
    yield f'<div class="{which}"><span class=faint>{escape(name)}</span><b>{number}</b>'
    yield f"<span class=faint>{escape(more)}</span></div>"


def _row(panel: Panel, shown: Shown) -> Iterable[str]:
    plain, ours = panel.says(shown.plain, shown), panel.says(shown.product, shown)
    yield f"<h2>{escape(panel.name)}</h2><picture>"
    for theme, dark in ((DARK, " and (prefers-color-scheme: dark)"), (LIGHT, "")):
        narrow = _data(drawing.panel_png(panel, shown, theme, narrow=True))
        yield f'<source media="(max-width: 700px){dark}" srcset="{narrow}">'
    wide_dark = _data(drawing.panel_png(panel, shown, DARK, narrow=False))
    yield f'<source media="(prefers-color-scheme: dark)" srcset="{wide_dark}">'
    wide = _data(drawing.panel_png(panel, shown, LIGHT, narrow=False))
    told = escape(f"{panel.name}. Plain Celery: {plain}. wabajobs: {ours}.", quote=True)
    yield f'<img src="{wide}" alt="{told}"></picture>'


def _data(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _claims(claims: Claims) -> Iterable[str]:
    yield "<div class=scroll><table><tr><th></th><th>claim</th><th class=n>wabajobs</th><th class=n>plain Celery</th>"
    for one in claims.checked:
        mark = "<span class=held>✔</span>" if one.held else "<span class=broken>✘</span>"
        cells = f"<td>{escape(one.claim)}</td><td class=n>{escape(one.seen)}</td><td class=n>{escape(one.beside)}</td>"
        yield f"<tr><td>{mark}</td>{cells}</tr>"
    yield "</table></div>"


def _episodes() -> Iterable[str]:
    yield "<div class=scroll><table><tr><th></th><th>begins</th><th>only uploads from</th><th>ends</th><th class=n>lasts</th>"
    for one in september.EPISODES:
        cells = "".join(f"<td>{at:%-d Sept, %H:%M}</td>" for at in (one.begins, one.eased, one.ends))
        yield f"<tr><td>{one.number}</td>{cells}<td class=n>{drawing.spoken(one.lasts)}</td></tr>"
    yield "</table></div>"


def _report(report: str) -> Iterable[str]:
    yield "<h2>The incident report that wabajobs wrote by itself</h2>"
    yield f"<pre>{escape(report)}</pre>"


def _how(shown: Shown, *, counted: bool) -> str:
    counts = "count" if counted else "do not count"
    return (
        f"<p>An hour lasted {shown.hour:g} s; {shown.product.hours:.0f} of the 434 hours were played, the rest was"
        " left out. Dates and durations are those of September 2024: a moment of the run is taken times one factor,"
        " from the begin of its stretch. Each side has a simulated Meta of its own, with the same seed and script;"
        f" refused calls {counts} against the limit. wabajobs: its dispatcher, two Celery workers, Redis and a SQLite"
        " ledger, all settings divided by the same speed. Plain Celery: two workers,"
        " <code>autoretry_for</code>, <code>retry_backoff=True</code> up to 600 s, <code>retry_jitter=True</code>,"
        " <code>max_retries=5</code>, and a <code>rate_limit</code> on the syncs under which all fits into the"
        " limit; its back-off is divided by the speed as well. What is counted comes from the simulated Meta's record"
        " of every call, from the ledger, and from what the plain tasks noted at their end. Waiting includes what"
        f" this machine took: a second of it is {shown.hour and 60 / shown.hour:.0f} minutes here.</p>"
    )
