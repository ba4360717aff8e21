"""The `fields` parameter: what is asked for, field expansion, and its errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wabajobs.simulator.errors import GraphError
from wabajobs.simulator.fields import Field, fields_asked

from .client import error_of


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("", ()),
        (None, ()),
        (" , ", ()),
        ("id,name", (Field("id"), Field("name"))),
        (" id , name ,id", (Field("id"), Field("name"))),
        ("a.limit(5)", (Field("a", (("limit", "5"),)),)),
        ("a{b,c}", (Field("a", (), (Field("b"), Field("c")), "b,c"),)),
        (
            "a.limit(5).after(x){b{c}},d",
            (
                Field("a", (("limit", "5"), ("after", "x")), (Field("b", (), (Field("c"),), "c"),), "b{c}"),
                Field("d"),
            ),
        ),
    ],
)
def test_fields_are_read_as_they_nest(text, asked) -> None:
    assert fields_asked(text) == asked


@pytest.mark.parametrize(
    "text", ["a{", "a{b", "a}", "a.limit", "a.limit(", "a.(1)", "1", "a b", "a{{}", "a" + "{a" * 9]
)
def test_what_is_no_list_of_fields_is_a_syntax_error(text) -> None:
    with pytest.raises(GraphError) as caught:
        fields_asked(text)
    assert caught.value.code == 2500


@given(st.text(alphabet="ab.,(){} 1", max_size=30))
def test_any_text_is_fields_or_a_syntax_error(text) -> None:
    try:
        fields_asked(text)
    except GraphError as error:
        assert error.code == 2500


def test_edges_come_along_with_a_node(start) -> None:
    client = start(wabas=1, numbers=3, templates=5)
    (waba,) = client.simulator.world.waba_ids

    nested = "phone_numbers.limit(2){id},message_templates.limit(1){name,status}"
    answer = client.get(waba, fields=f"name,{nested}").json()

    assert [set(one) for one in answer["phone_numbers"]["data"]] == [{"id"}] * 2
    assert "next" not in answer["phone_numbers"] and "next" in answer["phone_numbers"]["paging"]
    (template,) = answer["message_templates"]["data"]
    assert set(template) == {"id", "name", "status"}


def test_the_next_page_of_a_nested_edge_can_be_read(start) -> None:
    client = start(wabas=1, numbers=3)
    (waba,) = client.simulator.world.waba_ids

    nested = client.get(waba, fields="phone_numbers.limit(2){id}").json()["phone_numbers"]
    rest = client.session.get(nested["paging"]["next"], timeout=10).json()

    assert [one["id"] for one in nested["data"] + rest["data"]] == client.simulator.world.number_ids


def test_an_empty_edge_is_left_out(start) -> None:
    client = start(wabas=1, templates=0)
    (waba,) = client.simulator.world.waba_ids

    assert client.get(waba, fields="id,message_templates").json() == {"id": waba}


def test_a_field_that_holds_an_object_may_be_trimmed(start) -> None:
    client = start()
    waba = client.simulator.world.waba_ids[0]

    answer = client.get(waba, fields="owner_business_info{name}").json()

    owner = client.simulator.world.waba(waba).business_id
    assert answer["owner_business_info"] == {"name": "Shop 1", "id": owner}


def test_a_nested_edge_counts_as_one_call_and_costs_more_time(start) -> None:
    client = start(wabas=1, app_limit=100, time_factor=10.0)
    (waba,) = client.simulator.world.waba_ids

    plain = client.get(waba, fields="id").headers["X-App-Usage"]
    nested = client.get(waba, fields="id,phone_numbers,message_templates").headers["X-App-Usage"]

    assert '"call_count":1,"total_time":10' in plain
    assert '"call_count":2,"total_time":40' in nested
    assert client.simulator.judge.total == 2


def test_an_unknown_field_or_edge_is_named(start) -> None:
    client = start()
    waba = client.simulator.world.waba_ids[0]

    for fields in ("colour", "id,colour{id}", "phone_numbers{colour}"):
        error = error_of(client.get(waba, fields=fields))
        assert error["code"] == 100
        assert "nonexisting field (colour)" in error["message"]
