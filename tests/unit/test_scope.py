"""A scope as an operator types it."""

import pytest

from wabajobs.decisions import Scope, ScopeType
from wabajobs.errors import InvalidRequest


@pytest.mark.parametrize(
    ("typed", "scope"),
    [
        (("all",), Scope(ScopeType.ALL)),
        (("queue", "template_sync"), Scope(ScopeType.QUEUE, "template_sync")),
        (("queue:template_sync",), Scope(ScopeType.QUEUE, "template_sync")),
        (("partner:a:b",), Scope(ScopeType.PARTNER, "a:b")),
        (("waba", "102290129340398"), Scope(ScopeType.WABA, "102290129340398")),
    ],
)
def test_a_scope_is_read_as_it_is_typed(typed: tuple[str, ...], scope: Scope) -> None:
    assert Scope.of(*typed) == scope
    assert Scope.of(str(scope)) == scope


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (
            ("worker", "x"),
            "there is no scope 'worker'; use one of all, app, capability, queue, partner, waba, number",
        ),
        (("",), "there is no scope ''; use one of all, app, capability, queue, partner, waba, number"),
        (("all", "x"), "scope 'all' takes no name, but 'x' was given"),
        (("queue",), "scope 'queue' needs a name, for example: queue NAME"),
        (("queue:",), "scope 'queue' needs a name, for example: queue NAME"),
    ],
)
def test_what_is_wrong_is_said(typed: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Scope.of(*typed)

    assert str(refused.value) == sentence
