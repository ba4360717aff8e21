"""The vault: tokens, PINs and codes, sealed with keys that are not in the database.

A payload holds a reference instead of a secret: `vault:<name>` for one that lies here, `hub:<name>` for one that
the Hub's own store has, which `[vault] provider` asks. Sealed is with Fernet (AES-128-CBC and HMAC-SHA256,
github.com/fernet/spec); the first key seals, all of them open, so that keys can be changed one after the other.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from wabajobs.clock import Clock
from wabajobs.errors import ConfigurationError, NotFound
from wabajobs.ledger import SecretRecords
from wabajobs.secret import REFERENCE, Secret
from wabajobs.settings import VaultSettings


def new_key() -> str:
    """Return a new key for `WABAJOBS_VAULT_KEYS`."""
    return Fernet.generate_key().decode()


@dataclass(frozen=True, kw_only=True)
class Vault:
    """Where secrets lie. Raises `ConfigurationError` when it is needed and has no key."""

    records: SecretRecords
    settings: VaultSettings
    clock: Clock

    def seal(self, secret: Secret) -> str:
        """Return a secret sealed, fit for a database."""
        return self._fernet.encrypt(secret.reveal().encode()).decode()

    def put(self, name: str, secret: Secret) -> None:
        """Keep a secret under a name, in the place of one that lies there."""
        if not REFERENCE.fullmatch(f"vault:{name}"):
            raise ConfigurationError(
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
        keys = self.settings.keys.read(os.environ, what="keys of the vault").reveal().replace(",", " ").split()
        try:
            return MultiFernet([Fernet(key) for key in keys])
        except ValueError:
            raise ConfigurationError(
                "keys of the vault: one of them is no key; make one with: wabajobs vault new-key"
            ) from None

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
