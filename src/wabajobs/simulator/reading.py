"""The two handlers that every kind of node shares: reading one, and reading a list of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from wabajobs.simulator.fields import NodeType, fields_asked
from wabajobs.simulator.inputs import ListInput, NodeInput
from wabajobs.simulator.paging import Page, answer, page_size
from wabajobs.simulator.routes import Context, Handler
from wabajobs.simulator.world import Node


def _itself(_context: Context, node: Any) -> Any:
    return node


def node_read(
    node_type: NodeType[Any], kind: type[Node], *, view: Callable[[Context, Any], Any] = _itself
) -> Handler:
    """The handler of `GET /{node}?fields=`; `view` adds to the node what its fields need besides."""

    def read(context: Context, asked: NodeInput) -> dict[str, Any]:
        node = view(context, context.seen(kind))
        return node_type.render(node, fields_asked(asked.fields), expand=context.expand)

    return read


def edge_read(
    node_type: NodeType[Any],
    items: Callable[[Context, Any], Sequence[Any]],
    *,
    most: int | None = None,
    view: Callable[[Context, Any], Any] = _itself,
) -> Handler:
    """The handler of `GET /{node}/edge`: a list with fields, pages, and `summary=total_count`.

    `most` is the largest page where the edge has one of its own.
    """

    def read(context: Context, asked: ListInput) -> bytes:
        fields = fields_asked(asked.fields)
        node_type.checked(fields, edges=context.router.edges(node_type.kind) if node_type.kind else ())
        every = items(context, asked)
        page = Page.asked(context, total=len(every), size=page_size(context, most=most))
        nodes = [
            node_type.render(
                view(context, context.world.seen(one, context.as_of)),
                fields,
                expand=context.at(one).expand if node_type.kind else None,
            )
            for one in page.of(every)
        ]
        summary = json.dumps({"total_count": len(every)}) if asked.summary else ""
        return answer(json.dumps(nodes), page.links(context), summary=summary)

    return read
