"""What `wabajobs up` lays down in its folder."""

import stat
from pathlib import Path

import pytest

from wabajobs.cli.site import SimulatorOptions, Site
from wabajobs.machine import free_port
from wabajobs.secret import Secret
from wabajobs.settings import VAULT_KEYS, Settings
from wabajobs.vault import Vault
from wabajobs.wiring import House


def vault_of(folder: Path) -> Vault:
    """The vault of a site that is laid down in a folder, and not started."""
    site = Site(folder, settings=Settings(redis_url="redis://127.0.0.1:1/0"), simulator=SimulatorOptions())
    with site.prepared(flower_port=None):
        return House(site._settings).vault


def test_a_site_has_a_vault_key_of_its_own_that_only_its_owner_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VAULT_KEYS, raising=False)

    vault_of(tmp_path).put("token", Secret("EAAB"))

    assert stat.S_IMODE((tmp_path / "vault-key").stat().st_mode) == 0o600
    assert vault_of(tmp_path).get("token") == Secret("EAAB"), "the next time it is the same key"


def test_keys_that_were_given_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VAULT_KEYS, "given")

    assert vault_of(tmp_path).settings.keys.env == VAULT_KEYS
    assert not (tmp_path / "vault-key").exists()


@pytest.mark.parametrize("table", [{}, {"url": "https://status.example.com"}])
def test_links_of_the_status_page_lead_to_it_unless_it_is_elsewhere(
    tmp_path: Path, table: dict[str, str]
) -> None:
    settings = Settings.model_validate({"redis_url": "redis://127.0.0.1:1/0", "status_page": table})
    site, port = Site(tmp_path, settings=settings, simulator=SimulatorOptions()), free_port()

    with site.prepared(flower_port=None, feeds_port=port) as services:
        url = site._settings.status_page.url

    assert url == (table.get("url") or f"http://127.0.0.1:{port}")
    [feeds] = [one for one in services if one.name == "feeds"]
    assert list(feeds.argv)[-3:] == ["feeds", "--port", str(port)]
