"""`wabajobs drill`: incidents that are played against the product, on the real path, each with its verdict."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
from rich.table import Table

from wabajobs.cli.say import answer, as_json, err, out
from wabajobs.drills import DRILLS
from wabajobs.drills.drill import Drill, Options
from wabajobs.errors import NotFound, WabajobsError

_FOLDER: Final = Path(".wabajobs") / "drills"


class DrillFailed(WabajobsError):
    """A drill ran, and not all of its claims held."""


@click.command()
@click.argument("name", required=False)
@click.option(
    "--quick", "length", flag_value="quick", help="As short and coarse as can be: to see that it works."
)
@click.option(
    "--whole", "length", flag_value="whole", help="Every hour of the incident; sept-2024 takes an hour quarter."
)
@click.option(
    "--hour", type=click.FloatRange(min=0.5), help="Seconds that an hour lasts; the drill's own if not said."
)
@click.option(
    "--count-refused/--no-count-refused",
    default=True,
    show_default=True,
    help="Whether Meta counts refused calls against the limit.",
)
@click.option("--seed", default=1, show_default=True, help="Decides every request and Meta's world.")
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where pictures, page and raw results go; .wabajobs/drills/<name>-<time> if not said.",
)
@as_json
def drill(
    *,
    name: str | None,
    length: str | None,
    hour: float | None,
    count_refused: bool,
    seed: int,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Play an incident against the product; without NAME, list what there is.

    Everything is real - Redis, Celery workers, the ledger, HTTP - but Meta, who is played by a simulator, and an
    hour, which lasts seconds. Exit code 0 only if all that is claimed was borne out.
    """
    if name is None:
        listed = [{"name": one.name, "shows": one.shows} for one in DRILLS]
        answer(listed, as_json=as_json, plain=_list)
        return
    chosen = _named(name)
    folder = folder or _FOLDER / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    folder.mkdir(parents=True, exist_ok=True)
    options = Options(
        out=folder.absolute(),
        console=err if as_json else out,
        length=length or "usual",
        hour=hour,
        count_refused=count_refused,
        seed=seed,
    )
    options.console.print(f"[bold]wabajobs drill {chosen.name}[/]  {chosen.shows}")
    played = chosen.play(options)
    result = folder / "result.json"
    raw = {"drill": chosen.name, **played.facts, "claims": played.claims.as_json()}
    result.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")

    def plain() -> None:
        out.print()
        out.print(played.claims.table())
        out.print()
        for path in [*played.files, result]:
            out.print(f"  {path}", soft_wrap=True)

    answer({**raw, "files": [str(path) for path in [*played.files, result]]}, as_json=as_json, plain=plain)
    if not played.claims.all_held:
        number = len(played.claims.failed)
        raise DrillFailed(f"{number} of {len(played.claims.checked)} claims did not hold; see the table above")


def _named(name: str) -> Drill:
    for one in DRILLS:
        if one.name == name:
            return one
    raise NotFound(f"there is no drill {name!r}; there are {', '.join(one.name for one in DRILLS)}")


def _list() -> None:
    table = Table(box=None)
    table.add_column("drill")
    table.add_column("what it shows")
    for one in DRILLS:
        table.add_row(one.name, one.shows)
    out.print(table)
    out.print("\nPlay one: wabajobs drill NAME")
