"""The vault, on both databases: sealed, opened with any of its keys, sealed anew with the first."""

from collections import Counter
from datetime import timedelta

import pytest

from tests.ledger.conftest import Book, a_request
from wabajobs.clock import HandClock
from wabajobs.errors import ConfigurationError, InvalidRequest, NotFound
from wabajobs.ledger import Ages, Ledger
from wabajobs.operation import State
from wabajobs.outcome import Cancelled, Done, Expired, Failed
from wabajobs.secret import Secret
from wabajobs.settings import SecretSource, VaultSettings
from wabajobs.vault import Vault, new_key

FIRST, SECOND = new_key(), new_key()


def with_keys(ledger: Ledger, keys: str, monkeypatch: pytest.MonkeyPatch, **more: str) -> Vault:
    monkeypatch.setenv("KEYS", keys)
    vault = Vault(
        records=ledger.secrets,
        settings=VaultSettings(keys=SecretSource(env="KEYS"), **more),
        clock=HandClock(),
    )
    vault.require_keys()
    return vault


def provider(name: str) -> str | None:
    """The Hub's own store."""
    return {"acme/token": "of the Hub"}.get(name)


def test_what_is_put_comes_out_and_is_not_to_be_read_in_the_database(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = with_keys(ledger, FIRST, monkeypatch)

    vault.put("app-token", Secret("EAAB-1"))
    vault.put("app-token", Secret("EAAB-2"))

    assert vault.get("app-token") == Secret("EAAB-2")
    assert "EAAB" not in (ledger.secrets.get("app-token") or "")
    assert [one.name for one in ledger.secrets.known()] == ["app-token"]


def test_all_keys_open_and_the_first_seals(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    with_keys(ledger, FIRST, monkeypatch).put("old", Secret("EAAB"))
    both = with_keys(ledger, f"{SECOND}, {FIRST}", monkeypatch)
    both.put("new", Secret("EAAC"))

    assert (both.get("old"), both.get("new")) == (Secret("EAAB"), Secret("EAAC"))
    alone = with_keys(ledger, SECOND, monkeypatch)
    assert alone.get("new") == Secret("EAAC")
    with pytest.raises(ConfigurationError, match="secret old: none of the keys"):
        alone.get("old")


def test_after_a_rotation_the_old_key_is_not_needed(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    old = with_keys(ledger, FIRST, monkeypatch)
    for number in range(230):
        old.put(f"secret-{number:03}", Secret(f"value {number}"))
    both = with_keys(ledger, f"{SECOND} {FIRST}", monkeypatch)
    both.put("secret-007", Secret("changed meanwhile"))

    batches = list(both.rotate())

    assert sum(batches, Counter()) == Counter(seen=230, sealed=229)
    assert len(batches) == 3, "nobody has to wait long for one of them"
    alone = with_keys(ledger, SECOND, monkeypatch)
    assert alone.get("secret-229") == Secret("value 229")
    assert alone.get("secret-007") == Secret("changed meanwhile")
    assert sum(both.rotate(), Counter()) == Counter(seen=230), "a second time there is nothing to do"


def test_what_no_key_opens_is_counted_and_left(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    with_keys(ledger, FIRST, monkeypatch).put("lost", Secret("EAAB"))

    counted = sum(with_keys(ledger, SECOND, monkeypatch).rotate(), Counter())

    assert counted == Counter(seen=1, unopened=1)
    assert with_keys(ledger, FIRST, monkeypatch).get("lost") == Secret("EAAB")


def test_what_changes_while_it_is_sealed_anew_stays_changed(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_keys(ledger, FIRST, monkeypatch).put("token", Secret("old"))
    both = with_keys(ledger, f"{SECOND} {FIRST}", monkeypatch)
    real = ledger.secrets.replace

    def too_late(anew: dict[str, tuple[str, str]]) -> int:
        both.put("token", Secret("new"))
        return real(anew)

    monkeypatch.setattr(ledger.secrets, "replace", too_late)

    assert sum(both.rotate(), Counter()) == Counter(seen=1)
    assert both.get("token") == Secret("new")


def test_references_lead_to_the_vault_and_to_the_hub(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = with_keys(ledger, FIRST, monkeypatch, provider="tests.ledger.test_vault:provider")
    vault.put("acme/token", Secret("of ours"))

    assert vault.resolve("vault:acme/token") == Secret("of ours")
    assert vault.resolve("hub:acme/token") == Secret("of the Hub")
    with pytest.raises(NotFound, match="hub:bravo/token is not there"):
        vault.resolve("hub:bravo/token")


@pytest.mark.parametrize("keys", ["nonsense", "", f"{FIRST},nonsense"], ids=["one", "none", "one of two"])
def test_a_key_that_is_none_is_told_without_being_shown(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, keys: str
) -> None:
    with pytest.raises(ConfigurationError) as error:
        with_keys(ledger, keys, monkeypatch)

    assert "keys of the vault" in str(error.value)
    assert "nonsense" not in str(error.value)
    assert FIRST not in str(error.value)


def test_a_name_that_cannot_be_one_is_refused(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequest, match="is no name for a secret"):
        with_keys(ledger, FIRST, monkeypatch).put("a token", Secret("EAAB"))


def test_an_app_token_out_of_the_vault_survives_an_outage_of_the_database(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = with_keys(ledger, FIRST, monkeypatch)
    source = SecretSource(vault="app-token")
    with pytest.raises(ConfigurationError, match="put it there: wabajobs vault set app-token"):
        vault.read(source, what="token of app 1")
    vault.put("app-token", Secret("EAAB"))
    assert vault.read(source, what="token of app 1") == Secret("EAAB")
    vault._read["app-token"] = (0.0, Secret("EAAB"))
    ledger.database.close()
    monkeypatch.setattr(ledger.secrets, "get", lambda name: _away())

    assert vault.read(source, what="token of app 1") == Secret("EAAB")


def _away() -> None:
    from wabajobs.errors import LedgerUnavailable

    raise LedgerUnavailable("away")


def test_what_succeeded_expired_or_was_cancelled_loses_its_secrets_soon_and_what_failed_keeps_them(
    book: Book,
) -> None:
    ends = {"done": Done(), "gone": Expired("late"), "off": Cancelled("no", "anna"), "bad": Failed("no")}
    whose = {}
    for name, outcome in ends.items():
        new = a_request(secrets={f"operations/{name}": "sealed"})
        operation = book.running(new)
        book.record(operation, outcome)  # type: ignore[arg-type]
        whose[operation.id] = name
    waiting = book.accept_one(a_request(secrets={"operations/waiting": "sealed"}))
    book.ledger.secrets.put("app-token", "sealed", now=book.clock.now())
    month = timedelta(days=30)
    ages = Ages(
        finished=month,
        failed=month,
        pages=month,
        requests=month,
        media=month,
        changes=month,
        events=month,
        seen=month,
        incidents=month,
    )
    counted = book.ledger.retention.count(ages, now=book.clock.now())["secrets"]

    deleted = list(book.ledger.retention.prune(ages, now=book.clock.now()))

    assert (counted, deleted) == (3, [("secrets", 3)])
    left = {one.name: one.operation_id for one in book.ledger.secrets.known()}
    bad = next(id for id, name in whose.items() if name == "bad")
    assert left == {"app-token": None, "operations/bad": bad, "operations/waiting": waiting.id}
    assert book.get(waiting).state is State.WAITING
