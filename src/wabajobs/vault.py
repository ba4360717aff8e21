"""The vault: tokens, PINs and codes, sealed with keys that are not in the database.

A payload holds a reference instead of a secret: `vault:<name>` for one that lies here, `hub:<name>` for one that
the Hub's own store has, which `[vault] provider` asks. Sealed is with Fernet (AES-128-CBC and HMAC-SHA256,
github.com/fernet/spec); the first key seals, all of them open, so that keys can be changed one after the other.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from wabajobs.clock import Clock
from wabajobs.errors import ConfigurationError, InvalidRequest, LedgerUnavailable, NotFound
from wabajobs.ledger import SecretRecords
from wabajobs.secret import REFERENCE, Secret
from wabajobs.settings import AppSettings, SecretSource, VaultSettings

_FRESH_SECONDS: Final = 10.0
"""How long an app's token out of the vault is believed: a new one is in use after that."""
_AT_ONCE: Final = 100
"""Secrets that are sealed anew in one transaction."""


def new_key() -> str:
    """Return a new key for `WABAJOBS_VAULT_KEYS`."""
    return Fernet.generate_key().decode()


@dataclass(frozen=True, kw_only=True)
class Vault:
    """Where secrets lie. Raises `ConfigurationError` when it is needed and has no key."""

    records: SecretRecords
    settings: VaultSettings
    clock: Clock
    _read: dict[str, tuple[float, Secret]] = field(default_factory=dict)
    """Secrets of apps, each with the moment until which it is believed."""

    def seal(self, secret: Secret) -> str:
        """Return a secret sealed, fit for a database."""
        return self._fernet.encrypt(secret.reveal().encode()).decode()

    def put(self, name: str, secret: Secret) -> None:
        """Keep a secret under a name, in the place of one that lies there."""
        if not REFERENCE.fullmatch(f"vault:{name}"):
            raise InvalidRequest(
                f"{name!r} is no name for a secret: letters, digits and . / @ + _ -, at most 180"
            )
        self.records.put(name, self.seal(secret), now=self.clock.now())

    def get(self, name: str) -> Secret | None:
        """Return the secret of a name, None when there is none."""
        sealed = self.records.get(name)
        return None if sealed is None else self._open(sealed, name)

    def resolve(self, reference: str) -> Secret:
        """Return what a reference stands for. Raises `NotFound` when nothing is there."""
        match = REFERENCE.fullmatch(reference)
        if match is None:
            raise ConfigurationError("a secret's reference is vault:<name> or hub:<name>")
        store, name = match.groups()
        found = self.get(name) if store == "vault" else self._ask_the_hub(name)
        if found is None:
            raise NotFound(f"the secret {reference} is not there (any more)")
        return found

    def token(self, app_id: str, app: AppSettings) -> Secret:
        """Return an app's token from where its settings say."""
        return self.read(app.token, what=f"token of app {app_id}")

    def app_secret(self, app_id: str, app: AppSettings) -> Secret | None:
        """Return an app's secret; None when it has none."""
        return self.read(app.secret, what=f"secret of app {app_id}") if app.secret else None

    def read(self, source: SecretSource, *, what: str) -> Secret:
        """Return a secret from the environment, a file or this vault. Raises `ConfigurationError`."""
        name = source.vault
        if name is None:
            return source.read(os.environ, what=what)
        until, known = self._read.get(name, (0.0, None))
        if known is not None and time.monotonic() < until:
            return known
        try:
            found = self.get(name)
        except LedgerUnavailable as error:
            if known is None:
                raise ConfigurationError(f"{what}: {error}") from None
            found = known  # the calls that it is for need no database
        if found is None:
            raise ConfigurationError(
                f"{what}: the vault has no {name!r}; put it there: wabajobs vault set {name}"
            )
        self._read[name] = (time.monotonic() + _FRESH_SECONDS, found)
        return found

    def require_keys(self) -> None:
        """Raise `ConfigurationError` unless something can be sealed."""
        _ = self._fernet

    def rotate(self) -> Iterator[Counter[str]]:
        """Seal everything with the first key, a little at a time; count what was `sealed`, or not to be `opened`.

        What it seals already stays as it is, so it can be stopped and begun again. What is changed meanwhile by
        somebody else is sealed with the first key anyhow.
        """
        first, after = Fernet(self._keys[0]), ""
        while batch := self.records.batch(after=after, at_most=_AT_ONCE):
            anew: dict[str, tuple[str, str]] = {}
            counted: Counter[str] = Counter(seen=len(batch))
            for name, sealed in batch.items():
                if not _opens(first, sealed):
                    try:
                        anew[name] = (sealed, self._fernet.rotate(sealed).decode())
                    except InvalidToken:
                        counted["unopened"] += 1
            counted["sealed"] = self.records.replace(anew)
            yield counted
            after = next(reversed(batch))

    def _open(self, sealed: str, name: str) -> Secret:
        try:
            return Secret(self._fernet.decrypt(sealed.encode()).decode())
        except InvalidToken:
            raise ConfigurationError(
                f"secret {name}: none of the keys of the vault opens it; was a key taken away too early?"
            ) from None

    def _ask_the_hub(self, name: str) -> Secret | None:
        value = self._provider(name)
        return None if value is None else Secret(value)

    @cached_property
    def _fernet(self) -> MultiFernet:
        try:
            return MultiFernet([Fernet(key) for key in self._keys])
        except ValueError:
            raise ConfigurationError(
                "keys of the vault: one of them is no key; make one with: wabajobs vault new-key"
            ) from None

    @cached_property
    def _keys(self) -> list[str]:
        told = self.settings.keys.read(os.environ, what="keys of the vault").reveal()
        return told.replace(",", " ").split()

    @cached_property
    def _provider(self) -> Callable[[str], str | None]:
        if not self.settings.provider:
            raise ConfigurationError("a reference hub:<name> needs [vault] provider, the function that is asked")
        module, _, name = self.settings.provider.partition(":")
        try:
            found = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigurationError(
                f"[vault] provider {self.settings.provider!r} is not there: {error}"
            ) from None
        return found  # type: ignore[no-any-return]


def _opens(key: Fernet, sealed: str) -> bool:
    try:
        key.decrypt(sealed.encode())
    except InvalidToken:
        return False
    return True
