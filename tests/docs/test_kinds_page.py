"""The page of kinds is what its generator writes, and no kind is left out."""

import importlib.util
from types import ModuleType

import pytest

from tests.docs.pages import DOCS
from wabajobs.kinds import catalogue


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """The generator, loaded from its file."""
    spec = importlib.util.spec_from_file_location("generate_kinds", DOCS / "generate_kinds.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(generator: ModuleType) -> None:
    assert (DOCS / "kinds" / "README.md").read_text(encoding="utf-8") == generator.page(), (
        "the kinds have changed; run: python docs/generate_kinds.py"
    )


def test_every_kind_has_requests_on_it(generator: ModuleType) -> None:
    assert set(generator.REQUESTS) == set(catalogue().names)
