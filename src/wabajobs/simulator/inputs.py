"""The parameters of an endpoint as data: what it takes, of which shape, and the Graph's words when it is wrong.

A model describes an endpoint's parameters once, for the check and for the description in OpenAPI. Parameters
that it does not name are ignored, as the Graph ignores them.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from wabajobs.simulator.calls import Parameters, listed, parsed_json
from wabajobs.simulator.errors import GraphError, bad_parameter


def _from_text(value: Any) -> Any:
    if isinstance(value, str):
        parsed = parsed_json(value)
        return value if parsed is None else parsed
    return value


def _single(value: Any) -> Any:
    """The last of several values of a parameter that has one."""
    return value[-1] if isinstance(value, list) and value else value


def _text(value: Any) -> Any:
    value = _single(value)
    return json.dumps(value) if isinstance(value, dict | bool) else value


Text = Annotated[str, BeforeValidator(_text)]
"""Text; a number is taken as its digits."""
Whole = Annotated[int, BeforeValidator(_single)]
"""A whole number, also as text."""
Flag = Annotated[bool, BeforeValidator(_single)]
"""A truth value: true, false, 1, 0, also as text."""
Words = Annotated[list[str], BeforeValidator(lambda value: value if value is None else _words(value))]
"""A list of texts: JSON, `['A']` with single quotes, `a,b`, `name[]=a`, or `name[0]=a`."""
Object = Annotated[dict[str, Any], BeforeValidator(_from_text)]
"""An object, also as JSON in a form."""
Objects = Annotated[list[dict[str, Any]], BeforeValidator(_from_text)]
"""A list of objects, also as JSON in a form."""


def _words(value: Any) -> list[str]:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    try:
        return listed(value)
    except GraphError as error:
        raise ValueError(error.message.removeprefix("(#100) ")) from error


class Input(BaseModel):
    """The parameters of one endpoint."""

    model_config = ConfigDict(extra="ignore", frozen=True, coerce_numbers_to_str=True, populate_by_name=True)


class Nothing(Input):
    """An endpoint without parameters."""


class NodeInput(Input):
    """Parameters of every read of a node."""

    fields: Text | None = Field(default=None, description="Fields asked for, with field expansion")


class ListInput(NodeInput):
    """Parameters of every list."""

    limit: Whole | None = Field(default=None, description="Items on a page")
    after: Text | None = Field(default=None, description="Cursor: the page after this item")
    before: Text | None = Field(default=None, description="Cursor: the page before this item")
    summary: Words | None = Field(default=None, description="Totals asked for")


def checked(model: type[Input], parameters: Parameters) -> Input:
    """The parameters as the endpoint's model says; raises the Graph's error for the first that is wrong."""
    if model is Nothing:
        return _NOTHING
    try:
        return model.model_validate(parameters.values())
    except ValidationError as error:
        raise _error(error) from None


_NOTHING = Nothing()


def _error(error: ValidationError) -> GraphError:
    problem = error.errors(include_url=False)[0]
    place = problem["loc"]
    name = str(place[0]) if place else "body"
    for part in place[1:]:
        name += f"[{part!r}]" if isinstance(part, str) else f"[{part}]"
    match problem["type"]:
        case "missing":
            return bad_parameter(f"The parameter {name} is required.")
        case "literal_error" | "enum":
            allowed = str(problem.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ")
            return bad_parameter(f'Param {name} must be one of {{{allowed}}} - got "{problem["input"]}".')
        case "int_parsing" | "int_type" | "int_from_float" | "int_parsing_size":
            return bad_parameter(f"Param {name} must be an integer")
        case "bool_parsing" | "bool_type":
            return bad_parameter(f"Param {name} must be a boolean")
        case "list_type":
            return bad_parameter(f"Param {name} must be an array.")
        case "dict_type" | "model_type" | "model_attributes_type":
            return bad_parameter(f"Param {name} must be a JSON object.")
        case "value_error":
            return bad_parameter(f"Param {name}: {problem['msg'].removeprefix('Value error, ')}")
        case _:
            return bad_parameter(f"Param {name}: {problem['msg']}")
