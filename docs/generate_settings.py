"""Write docs/settings.md from the settings themselves: `python docs/generate_settings.py`."""

import ast
import inspect
import json
import sys
from pathlib import Path
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from wabajobs import settings
from wabajobs.settings import SecretSource, Settings

PAGE: Final = Path(__file__).with_name("settings.md")

_HEAD: Final = """\
# Settings

<!-- Written by docs/generate_settings.py from src/wabajobs/settings.py. Do not edit: run it again. -->

Settings come from one TOML file. `WABAJOBS_CONFIG` names it. The environment outranks the file.

- Every duration is in seconds, so that an hour can be played in a minute; only ages in `[retention]` are in days.
- An unknown name is an error. It is told in one sentence, with the name in it.
- A token or secret is never written into the file. The file says where to read it.
- All programs of one site must read the same file. A program reads it once, when it starts.
- Without any `WABAJOBS_` variable (but `WABAJOBS_VAULT_KEYS` and `WABAJOBS_LOG`), `.wabajobs/running.toml` of the
  current folder is read. A running `wabajobs up` has left it there for the second terminal.

```toml
database_url = "postgresql://wabajobs@db.internal/wabajobs"

[apps.1234567890]
token = { env = "HUB_APP_TOKEN" }
calls_per_window = 200000

[workers]
concurrency = 16
```
"""

_MEANINGS: Final = {
    ("Settings", "database_url"): "The ledger: `sqlite:///FILE` or `postgresql://…`. A password may stand in it.",
    ("Settings", "redis_url"): "Redis for the gate and the signals.",
    ("Settings", "broker_url"): "Celery's broker.",
    ("Settings", "graph_url"): "The Graph API to call.",
    ("Settings", "graph_version"): "Its version, `v` and a number with a dot.",
    ("Settings", "apps"): "The Meta apps, one table `[apps.<app id>]` for each.",
    ("SecretSource", "env"): "Name of the environment variable that holds the secret.",
    ("SecretSource", "file"): "Path of the file that holds it. The line end is taken off.",
    ("AppSettings", "token"): "Where the app's token is read from.",
    ("GraphSettings", "connect_seconds"): "How long it may take to get a connection.",
    ("GraphSettings", "read_seconds"): "How long the answer may take after that, to its last byte.",
    (
        "GraphSettings",
        "pool_size",
    ): "Idle connections that a worker keeps. Not less than `[workers] concurrency`.",
}
"""Meanings of the fields that the code leaves without a word of its own; the code's own word outranks these."""

_DEFAULTS: Final = {
    "database_url": "database",
    "redis_url": "redis",
    "broker_url": "broker",
}
"""Fields whose empty default stands for another value, and the property that tells it."""


def page() -> str:
    """Return the whole page."""
    meanings = _docstrings()
    parts = [_HEAD, "## At the top of the file\n", _table_of(Settings, meanings, skip_tables=True, environ=True)]
    for name, field in Settings.model_fields.items():
        if (table := _table_class(field)) is None:
            continue
        title = f"[{name}.<app id>]" if name == "apps" else f"[{name}]"
        parts += [f"## `{title}`\n", _table_of(table, meanings)]
    parts += [
        "## A secret's place\n",
        "`token` and `secret` take one of two, as `{ env = … }` or `{ file = … }`.\n",
    ]
    parts += [_table_of(settings.SecretSource, meanings)]
    return "\n".join(parts)


def _table_of(
    model: type[BaseModel],
    meanings: dict[tuple[str, str], str],
    *,
    skip_tables: bool = False,
    environ: bool = False,
) -> str:
    head = ["name", "default", "meaning"]
    if environ:
        head.insert(1, "variable")
    rows = [head, ["---"] * len(head)]
    for name, field in model.model_fields.items():
        if skip_tables and _table_class(field) is not None:
            continue
        row = [f"`{name}`", _default(name, field), _meaning(model, name, meanings) + _bounds(field)]
        if environ:
            row.insert(1, f"`WABAJOBS_{name.upper()}`" if name in environment_fields() else "-")
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def environment_fields() -> tuple[str, ...]:
    """Return the fields that a variable `WABAJOBS_…` can set; found by trying."""
    tried = {name: _example(name) for name in Settings.model_fields if name.endswith(("_url", "_version", "log"))}
    return tuple(
        name
        for name, value in tried.items()
        if getattr(Settings.load({f"WABAJOBS_{name.upper()}": value}), name) == value
    )


def _example(name: str) -> str:
    return {"graph_version": "v1.0", "log": "json"}.get(name, "http://example.invalid")


def _meaning(model: type[BaseModel], name: str, meanings: dict[tuple[str, str], str]) -> str:
    for owner in (model.__name__, *(base.__name__ for base in model.__mro__)):
        if said := meanings.get((owner, name)) or _MEANINGS.get((owner, name)):
            return said.rstrip(".") + "."
    raise SystemExit(f"{model.__name__}.{name} has no meaning: give it a docstring in settings.py")


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "must be set"
    if name in _DEFAULTS:
        return f"`{getattr(Settings(), _DEFAULTS[name])}`" if name != "broker_url" else "the `redis_url`"
    value: Any = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    if isinstance(value, SecretSource):
        told = value.model_dump(mode="json", exclude_none=True)
        return f"`{{ {', '.join(f'{name} = {json.dumps(where)}' for name, where in told.items())} }}`"
    if isinstance(value, (dict, tuple)):
        return "none" if not value else f"`{json.dumps(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _bounds(field: FieldInfo) -> str:
    limits = {
        sign: getattr(rule, attribute)
        for rule in field.metadata
        for attribute, sign in (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than"))
        if hasattr(rule, attribute)
    }
    limits = {sign: value for sign, value in limits.items() if not (sign == "more than" and value == 0)}
    return f" ({', '.join(f'{sign} {value:g}' for sign, value in limits.items())})" if limits else ""


def _table_class(field: FieldInfo) -> type[BaseModel] | None:
    annotation = field.annotation
    if get_origin(annotation) is dict:
        annotation = get_args(annotation)[1]
    if get_origin(annotation) in (Union, UnionType):
        return None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _docstrings() -> dict[tuple[str, str], str]:
    """Return the string that stands below each field of each table."""
    found: dict[tuple[str, str], str] = {}
    for node in ast.parse(inspect.getsource(settings)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for field, below in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
                and isinstance(below.value.value, str)
            ):
                found[node.name, field.target.id] = inspect.cleandoc(below.value.value).replace("\n", " ")
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE} is written\n")
