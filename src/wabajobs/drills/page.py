"""The drill as one HTML file: no network, readable on a phone, in the light and in the dark."""

import base64
from collections.abc import Iterable
from html import escape
from pathlib import Path

from wabajobs.drills import drawing, september
from wabajobs.drills.claims import Claims
from wabajobs.drills.drawing import DARK, LIGHT, Panel, Shown
from wabajobs.drills.markdown import as_html

_STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
_HOW = (Path(__file__).parent / "how.html").read_text(encoding="utf-8")


def write(shown: Shown, claims: Claims, path: Path, *, counted: bool, report: str = "") -> Path:
    """Write the page. `report` is the incident report that the product has written, as Markdown."""
    plain, ours = shown.plain, shown.product
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width, initial-scale=1">',
        f"<title>September 2024, replayed</title><style>{_STYLE}</style>",
        "<h1>September 2024, replayed</h1>",
        "<p>Four times in eighteen days, Meta's limit of one app was lower than what was asked for. Here are",
        "those hours again, twice: with Celery as it is usually written, and with wabajobs. The same requests,",
        "the same Meta, and nobody touches anything on either side.</p>",
        '<div class="versus">',
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
    yield "<div class=scroll><table>"
    yield "<tr><th></th><th>claim</th><th class=n>wabajobs</th><th class=n>plain Celery</th></tr>"
    for one in claims.checked:
        mark = "<span class=held>✔</span>" if one.held else "<span class=broken>✘</span>"
        numbers = "".join(f"<td class=n>{escape(seen)}</td>" for seen in (one.seen, one.beside))
        yield f"<tr><td>{mark}</td><td>{escape(one.claim)}</td>{numbers}</tr>"
    yield "</table></div>"


def _episodes() -> Iterable[str]:
    yield "<div class=scroll><table>"
    yield "<tr><th></th><th>begins</th><th>only uploads from</th><th>ends</th><th class=n>lasts</th></tr>"
    for one in september.EPISODES:
        cells = "".join(f"<td>{at:%-d Sept, %H:%M}</td>" for at in (one.begins, one.eased, one.ends))
        yield f"<tr><td>{one.number}</td>{cells}<td class=n>{drawing.spoken(one.lasts)}</td></tr>"
    yield "</table></div>"


def _report(report: str) -> Iterable[str]:
    yield "<h2>The incident report that wabajobs wrote by itself</h2>"
    yield "<p class=faint>In the time of the story; spans inside of sentences are those of the run.</p>"
    yield f"<details open><summary>From its first line to its last</summary>{as_html(report)}</details>"


def _how(shown: Shown, *, counted: bool) -> str:
    words = {
        "hour": f"{shown.hour:g}",
        "played": f"{shown.product.hours:.0f}",
        "counts": "count" if counted else "do not count",
        "minutes": f"{60 / shown.hour:.0f}",
    }
    return _HOW.format_map(words)
