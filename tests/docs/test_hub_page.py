"""The Python of the pages for the Hub runs, block after block, against a ledger and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import tomli_w
from sqlalchemy import create_engine, text

from tests.docs.pages import DOCS, Page
from tests.support.databases import SqliteFiles


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("hub.md", ["is still waiting", "waba '12' is no WABA id: 5 to 20 digits, as a string"]),
        ("events.md", []),
        ("webhooks.md", []),
    ],
)
def test_every_block_runs(
    page: str,
    says: list[str],
    tmp_path: Path,
    sqlite_files: SqliteFiles,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = sqlite_files.fresh()
    config = tmp_path / "wabajobs.toml"
    # A port on which nobody listens: the Hub must not need Redis.
    settings = {"database_url": url, "redis_url": "redis://127.0.0.1:1/0", "apps": {"1234567890": {"token": {}}}}
    config.write_text(tomli_w.dumps(settings))
    monkeypatch.setenv("WABAJOBS_CONFIG", str(config))
    hub = create_engine(url)
    with hub.begin() as connection:
        connection.execute(text("CREATE TABLE channels (waba TEXT, refreshing BOOLEAN)"))
    names: dict[str, Any] = {"HUB_DATABASE_URL": url, "LEDGER_DATABASE_URL": url}

    for block in Page(DOCS / page).blocks:
        if block.language == "python":
            exec(block.text, names)

    names["client"].close()
    said = capsys.readouterr().out
    assert all(each in said for each in says)
