"""The settings page is what its generator writes, and every variable that is named exists."""

import importlib.util
import re
from types import ModuleType

import pytest

from tests.docs.pages import DOCS, Page, pages
from tests.support.fleet import ROOT
from wabajobs.settings import VAULT_KEYS

_VARIABLE = re.compile(r"WABAJOBS_[A-Z_]*[A-Z]")
_CONFIG = "WABAJOBS_CONFIG"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """The generator, loaded from its file."""
    spec = importlib.util.spec_from_file_location("generate_settings", DOCS / "generate_settings.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def variables(generator: ModuleType) -> set[str]:
    """The variables that the settings read."""
    return {_CONFIG, VAULT_KEYS, *(f"WABAJOBS_{name.upper()}" for name in generator.environment_fields())}


def test_the_page_is_up_to_date(generator: ModuleType) -> None:
    assert (DOCS / "settings.md").read_text(encoding="utf-8") == generator.page(), (
        "the settings have changed; run: python docs/generate_settings.py"
    )


@pytest.mark.parametrize("page", pages(), ids=str)
def test_every_variable_that_a_page_names_exists(page: Page, variables: set[str]) -> None:
    # Those of the test suite are read by the tests, and named for who works on the product.
    named = {name for name in _VARIABLE.findall(page.text) if not name.startswith("WABAJOBS_TEST_")}

    assert named - variables == set()


@pytest.mark.parametrize("page", ["README.md", "docs/settings.md"])
def test_every_variable_is_told(page: str, variables: set[str]) -> None:
    assert variables - set(_VARIABLE.findall((ROOT / page).read_text(encoding="utf-8"))) == set()
