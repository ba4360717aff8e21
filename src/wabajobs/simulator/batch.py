"""Many calls in one request: batches, and `ids=`. Each call inside counts as one, as if it had come alone.

https://developers.facebook.com/docs/graph-api/batch-requests
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode

from wabajobs.simulator.calls import Call, Form, Parameters, Reply, parsed_json
from wabajobs.simulator.errors import GraphError, bad_parameter
from wabajobs.simulator.graph import Ending, Graph, Outcome, overridden

MOST = 50
"""Calls that one request may hold."""

_REFERENCE = re.compile(r"\{result=(?P<name>[^:}]+):(?P<path>\$[^}]*)\}")
_STEP = re.compile(r"\.(?P<name>[A-Za-z0-9_]+|\*)|\[(?P<index>\d+|\*)\]")


class Requests:
    """HTTP requests as they come: a call of the Graph, or several in one."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    async def handle(self, call: Call, *, request: int) -> Outcome:
        """The answer to one HTTP request."""
        try:
            if not call.segments and call.method == "POST" and call.parameters.value("batch") is not None:
                return await self._batch(call, request)
            call = overridden(call)
            # The first look is quick, and true of `template_ids` as well.
            if call.method == "GET" and "ids=" in call.query and call.parameters.value("ids") is not None:
                return await self._ids(call, request)
        except GraphError as error:
            return self._graph.refuse(call, error, request=request)
        return await self._graph.handle(call, request=request)

    async def _ids(self, call: Call, request: int) -> Outcome:
        wanted = list(dict.fromkeys(call.parameters.many("ids")))
        if not wanted:
            raise bad_parameter("No node specified")
        if len(wanted) > MOST:
            raise bad_parameter(f"Too many IDs. Maximum: {MOST}. Provided: {len(wanted)}.")
        rest = urlencode([(name, value) for name, value in call.parameters.pairs() if name != "ids"])
        parts, delay, last = [], 0.0, Reply()
        for one in wanted:
            path = "/".join(["", *([call.version] if call.version else []), quote(one, safe=""), *call.segments])
            outcome = await self._graph.handle(replace(call, path=path, query=rest, via="ids"), request=request)
            delay, last = max(delay, outcome.delay), outcome.reply
            if outcome.ending is not Ending.ANSWER or last.status != 200:
                # One id that fails takes the others with it.
                return replace(outcome, delay=delay)
            parts.append(f"{json.dumps(one)}:{last.body.decode()}")
        return Outcome(replace(last, body=("{" + ",".join(parts) + "}").encode()), delay)

    async def _batch(self, call: Call, request: int) -> Outcome:
        entries = call.parameters.value("batch")
        batch = _Batch(call, parsed_json(entries) if isinstance(entries, str) else entries)
        wrong = self._graph.token_error(call)
        if wrong:
            raise wrong
        delay = 0.0
        for number, entry in enumerate(batch.entries):
            inner = batch.inner(entry)
            if inner is None:
                continue
            outcome = await self._graph.handle(overridden(inner), request=request)
            delay = max(delay, outcome.delay)
            batch.answered(number, entry, outcome)
        return Outcome(Reply(body=json.dumps(batch.answers()).encode()), delay)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One call of a batch."""

    method: str
    target: str
    body: str
    name: str | None
    depends_on: str | None
    omit_on_success: bool | None
    headers: dict[str, str]
    files: tuple[str, ...]


class _Batch:
    """The calls of one batch in their order, and their answers."""

    def __init__(self, call: Call, entries: Any) -> None:
        if not isinstance(entries, list) or not entries:
            raise _batch_error("batch parameter must be a JSON array")
        if len(entries) > MOST:
            raise _batch_error(f"Too many requests in batch message. Maximum batch size is {MOST}")
        self._call = call
        self._with_headers = (call.parameters.one("include_headers") or "true").lower() not in ("false", "0")
        self.entries = [_entry(one) for one in entries]
        self._used = {
            match["name"]
            for entry in self.entries
            for match in _REFERENCE.finditer(f"{entry.target} {entry.body}")
        } | {entry.depends_on for entry in self.entries if entry.depends_on}
        self._answers: list[dict[str, Any] | None] = [None] * len(entries)
        self._results: dict[str, Any] = {}

    def inner(self, entry: _Entry) -> Call | None:
        """The call, or nothing when what it depends on has not succeeded."""
        if entry.depends_on is not None and entry.depends_on not in self._results:
            return None
        try:
            target, body = self._resolved(entry.target), self._resolved(entry.body)
        except LookupError:
            return None
        outer = self._call
        path, _, query = target.partition("?")
        if not path.startswith("/"):
            path = "/" + path
        if outer.version and not re.match(r"/v\d+\.\d+(/|$)", path):
            path = f"/{outer.version}{path}"
        inherited = {
            name: value
            for name in ("access_token", "appsecret_proof", "appsecret_time")
            if (value := outer.parameters.one(name)) is not None
        }
        own = Parameters(query, body=body.encode())
        if own.one("access_token"):
            # Another token than the batch's needs a proof of its own.
            inherited = {}
        missing = [(name, value) for name, value in inherited.items() if own.one(name) is None]
        headers = {**entry.headers, "content-type": "application/x-www-form-urlencoded"}
        authorization = outer.headers.get("authorization")
        if authorization and not own.one("access_token"):
            headers["authorization"] = authorization
        files = {name: outer.parameters.files[name] for name in entry.files if name in outer.parameters.files}
        return Call(
            method=entry.method,
            path=path,
            query="&".join(part for part in (query, urlencode(missing)) if part),
            headers=headers,
            body=b"" if files else body.encode(),
            form=Form(fields=tuple(own.pairs()), files=_named(files)) if files else None,
            via="batch",
        )

    def answered(self, number: int, entry: _Entry, outcome: Outcome) -> None:
        """Keep the answer to a call; one that never came is null."""
        if outcome.ending is not Ending.ANSWER:
            return
        reply = outcome.reply
        body = reply.body.decode("utf-8", "replace")
        if reply.status == 200:
            try:
                self._results[entry.name or ""] = json.loads(body)
            except ValueError:
                self._results[entry.name or ""] = None
            # By default the answer to a call whose result others use is left out.
            used = entry.name in self._used
            if used if entry.omit_on_success is None else entry.omit_on_success:
                return
        answer: dict[str, Any] = {"code": reply.status}
        if self._with_headers:
            headers = {**reply.headers, "Content-Type": reply.content_type}
            answer["headers"] = [{"name": name, "value": value} for name, value in headers.items()]
        self._answers[number] = {**answer, "body": body}

    def answers(self) -> list[dict[str, Any] | None]:
        """The answers in the order of the calls."""
        return self._answers

    def _resolved(self, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            if match["name"] not in self._results:
                raise LookupError(match["name"])
            found = _followed(self._results[match["name"]], match["path"])
            return ",".join(str(one) for one in found)

        return _REFERENCE.sub(value, text)


def _named(files: dict[str, Any]) -> dict[str, Any]:
    # A sub-request that posts one file means the parameter `file`, whatever the outer field's name.
    return {"file": next(iter(files.values())), **files} if len(files) == 1 else files


def _entry(given: Any) -> _Entry:
    if not isinstance(given, dict) or not isinstance(given.get("relative_url"), str):
        raise _batch_error("Each request of a batch needs a method and a relative_url")
    body = given.get("body") or ""
    if isinstance(body, dict):
        body = urlencode(
            {name: value if isinstance(value, str) else json.dumps(value) for name, value in body.items()}
        )
    name, depends_on = given.get("name"), given.get("depends_on")
    return _Entry(
        method=str(given.get("method") or "GET").upper(),
        target=given["relative_url"],
        body=str(body),
        name=name if isinstance(name, str) else None,
        depends_on=depends_on if isinstance(depends_on, str) else None,
        omit_on_success=given.get("omit_response_on_success"),
        headers=_headers(given.get("headers")),
        files=tuple(part.strip() for part in str(given.get("attached_files") or "").split(",") if part.strip()),
    )


def _headers(given: Any) -> dict[str, str]:
    """Headers as `["Name: value"]`, as `[{"name": …, "value": …}]`, or as an object."""
    pairs: list[tuple[Any, Any]] = []
    if isinstance(given, dict):
        pairs.extend(given.items())
    elif isinstance(given, list):
        for one in given:
            if isinstance(one, str):
                name, _, value = one.partition(":")
                pairs.append((name, value))
            elif isinstance(one, dict):
                pairs.append((one.get("name"), one.get("value")))
    return {str(name).strip().lower(): str(value).strip() for name, value in pairs}


def _followed(value: Any, path: str) -> list[Any]:
    """What a JSONPath of names, indexes and stars leads to."""
    found = [value]
    for step in _STEP.finditer(path):
        key = step["name"] or step["index"]
        below: list[Any] = []
        for one in found:
            if key == "*":
                below.extend(one.values() if isinstance(one, dict) else one if isinstance(one, list) else [])
            elif isinstance(one, dict) and key in one:
                below.append(one[key])
            elif isinstance(one, list) and key.isdecimal() and int(key) < len(one):
                below.append(one[int(key)])
        found = below
    return found


def _batch_error(message: str) -> GraphError:
    return GraphError(message=message, code=100, type="GraphBatchException")
