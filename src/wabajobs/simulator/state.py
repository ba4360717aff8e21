"""A simulator's state in a file: saved while it runs, and gone on from at the next start.

Two files: one with everything but the log, replaced as a whole; beside it the log of calls and effects, which
only grows. The first says how much of the second counts, so that a process may be killed at any moment.
Simulated time stands still while the simulator does not run. How things were before the last start is not kept,
so a stale read does not reach further back than that.
"""

from __future__ import annotations

import copy
import fcntl
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, get_args

from pydantic import TypeAdapter

from wabajobs.simulator.effects import Effect
from wabajobs.simulator.judge import CallRecord
from wabajobs.simulator.randomness import put_state, state_of
from wabajobs.simulator.world import Node, Number, Signup, Template, Token, Waba, World

if TYPE_CHECKING:
    from wabajobs.simulator.server import Simulator

FORMAT = 1
EXEMPT = frozenset({"clock", "speed", "webhook_url", "log_size", "description"})
"""The knobs that may differ from those with which a state was saved."""

_KINDS: dict[str, TypeAdapter[Any]] = {kind.kind: TypeAdapter(kind) for kind in get_args(Node)}
_TEMPLATES = TypeAdapter(list[Template])
_TOKENS = TypeAdapter(list[Token])
_SIGNUPS = TypeAdapter(list[Signup])
_GENERATION = re.compile(r"\.(\d+)\.log")


class StateError(ValueError):
    """A state that cannot be gone on from; its text is the sentence for the operator."""


class Keeper:
    """Saves one simulator into its file, and restores it from there."""

    def __init__(self, simulator: Simulator, path: Path) -> None:
        self._simulator = simulator
        self._path = path
        self._saving = threading.Lock()
        self._lock_file: IO[bytes] | None = None
        self._world = WorldKeeper(simulator.world)
        self._log: IO[bytes] | None = None
        self._generation = 0
        self._log_bytes = 0
        self._log_lines = 0
        self._last_call = self._last_effect = 0
        self._clearings = simulator.judge.clearings
        self._saved: tuple[int, ...] | None = None
        self._own: tuple[int, int] | None = None
        """The file as it was written or read last."""

    # The file is one simulator's

    def open(self) -> None:
        """Take the file, and restore what it holds; a StateError says why not, and leaves it as it is."""
        self._take()
        try:
            self._restore()
        except BaseException:
            self.close()
            raise

    def take_again(self) -> None:
        """Take the file after `close`; a StateError when somebody else has written it in between."""
        if self._lock_file is None:
            self._take()
            if self._identity() != self._own:
                self.close()
                raise StateError(f"another simulator has written the state in {self._path}")

    def _take(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock_file = _opened(self._beside(".lock"), "ab")
        except OSError as error:
            raise StateError(f"the state cannot be kept in {self._path}: {error.strerror or error}") from error
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock_file.close()
            self._lock_file = None
            raise StateError(f"another simulator uses the state in {self._path}") from error

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def close(self) -> None:
        """Let the file go."""
        for file in (self._log, self._lock_file):
            if file is not None:
                file.close()
        self._log = self._lock_file = None

    # Saving

    @property
    def changed(self) -> bool:
        """Whether anything but the time is other than it was saved."""
        return self._mark() != self._saved

    def save(self) -> None:
        """Write everything, in such a way that the file is always whole."""
        with self._saving:
            with self._simulator.lock:
                mark = self._mark()
                parts, calls, effects = self._captured()
            # Before anything that a full disk may end, because what was captured is told only once.
            world = self._world.written(parts.pop("world"))
            self._write_log(calls, effects)
            parts["log"] = {
                "generation": self._generation,
                "bytes": self._log_bytes,
                "lines": self._log_lines,
                "last_call": self._last_call,
                "last_effect": self._last_effect,
            }
            self._write_main(parts, world)
            self._saved = mark

    def _mark(self) -> tuple[int, ...]:
        it = self._simulator
        return (
            it.judge.next_seq,
            it.judge.clearings,
            it.world.changed,
            it.limits.changed,
            it.faults.changed,
            it.player.changed,
            it.webhooks.changed,
            it.agenda.changed,
        )

    def _captured(self) -> tuple[dict[str, Any], list[CallRecord], list[Effect]]:
        """Everything as it is at one moment; what costs time is left for afterwards."""
        it = self._simulator
        if it.judge.clearings != self._clearings:
            self._clearings = it.judge.clearings
            self._new_log()
        elif self._log_lines > 2 * it.config.log_size + 100_000:
            # Most of it is older than what the judge remembers.
            self._new_log()
        parts = {
            "format": FORMAT,
            "config": config_of(it),
            "clock": {"now": it.clock.now(), "unix": it.clock.unix()},
            "world": self._world.captured(),
            "limits": it.limits.state(),
            "faults": it.faults.state(),
            "agenda": it.agenda.state(),
            "player": it.player.state(),
            "judge": it.judge.state(),
            "in_force": it.judge.effects.state()["in_force"],
            "webhooks": it.webhooks.state(),
            "graph": it._graph.state(),
        }
        calls = it.judge.calls(after=self._last_call)
        effects = it.judge.effects.all(after=self._last_effect)
        return parts, calls, effects

    def _new_log(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None
        self._generation += 1
        self._log_bytes = self._log_lines = 0
        self._last_call = self._last_effect = 0

    def _write_log(self, calls: list[CallRecord], effects: list[Effect]) -> None:
        if self._log is None:
            self._log = _opened(self._log_path(self._generation), "r+b")
        if calls or effects:
            lines = [*(["call", *one] for one in calls), *(["effect", *one] for one in effects)]
            text = b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)
            # What a killed process wrote behind what counts is written over.
            self._log.seek(self._log_bytes)
            self._log.write(text)
            self._log.truncate()
            self._log.flush()
            os.fsync(self._log.fileno())
            self._log_bytes += len(text)
            self._log_lines += len(lines)
            self._last_call = calls[-1].seq if calls else self._last_call
            self._last_effect = effects[-1].seq if effects else self._last_effect

    def _write_main(self, parts: dict[str, Any], world: bytes) -> None:
        rest = json.dumps(parts, separators=(",", ":")).encode()
        temporary = self._beside(".new")
        with _opened(temporary, "wb") as file:
            file.write(b'{"world":' + world + b"," + rest[1:])
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        self._own = self._identity()
        _sync_folder(self._path.parent)
        for other, generation in self._logs():
            if generation != self._generation:
                other.unlink(missing_ok=True)

    # Restoring

    def _restore(self) -> None:
        if not self._path.exists():
            return
        broken = "it was left as it is; name another file, or move it away to begin afresh"
        try:
            parts = json.loads(self._path.read_bytes())
            if not isinstance(parts, dict) or "format" not in parts:
                raise ValueError("it is no simulator's state")
        except (ValueError, RecursionError) as error:
            raise StateError(
                f"the state in {self._path} cannot be read ({_first_line(error)}); {broken}"
            ) from error
        except OSError as error:
            raise StateError(f"the state in {self._path} cannot be read: {error.strerror or error}") from error
        if parts["format"] != FORMAT:
            raise StateError(f"the state in {self._path} is of another version of the simulator; {broken}")
        self._check_config(parts.get("config"))
        try:
            self._put_back(parts)
        except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
            raise StateError(f"the state in {self._path} is broken ({_first_line(error)}); {broken}") from error

    def _check_config(self, saved: Any) -> None:
        given = config_of(self._simulator)
        saved = saved if isinstance(saved, dict) else {}
        other = sorted(name for name in {*given, *saved} if given.get(name) != saved.get(name))
        if other:
            raise StateError(
                f"the state in {self._path} is of a simulator with another {_words(other)}; start it as it was, "
                "or name another file"
            )

    def _put_back(self, parts: dict[str, Any]) -> None:
        it, log = self._simulator, parts["log"]
        calls, effects = self._read_log(log)
        # Time first: what is put back is compared with now.
        it.clock.go_on_from(parts["clock"]["now"], parts["clock"]["unix"])
        self._world.put_back(parts["world"])
        it.limits.restore(parts["limits"])
        it.faults.restore(parts["faults"])
        it.player.restore(parts["player"])
        it.judge.restore(parts["judge"], calls)
        it.judge.effects.restore({"all": effects, "in_force": parts["in_force"]})
        it.webhooks.restore(parts["webhooks"])
        it._graph.restore(parts["graph"])
        it.agenda.restore(parts["agenda"])
        self._generation, self._log_bytes, self._log_lines = log["generation"], log["bytes"], log["lines"]
        self._last_call, self._last_effect = log["last_call"], log["last_effect"]
        self._clearings = it.judge.clearings
        self._saved, self._own = self._mark(), self._identity()

    def _read_log(self, log: dict[str, Any]) -> tuple[list[CallRecord], list[list[Any]]]:
        calls, effects = [], []
        text = b""
        if log["bytes"]:
            text = self._log_path(log["generation"]).read_bytes()[: log["bytes"]]
        if len(text) < log["bytes"]:
            raise ValueError("its log is shorter than it was")
        for line in text.splitlines():
            kind, *values = json.loads(line)
            if kind == "call":
                calls.append(CallRecord(*values))
            else:
                effects.append(values)
        return calls, effects

    # Where it is

    def _beside(self, ending: str) -> Path:
        return self._path.with_name(self._path.name + ending)

    def _log_path(self, generation: int) -> Path:
        return self._beside(f".{generation}.log")

    def _logs(self) -> Iterator[tuple[Path, int]]:
        for path in self._path.parent.iterdir():
            match = _GENERATION.fullmatch(path.name.removeprefix(self._path.name))
            if match and path.name.startswith(self._path.name):
                yield path, int(match[1])


class WorldKeeper:
    """What of a world is other than its seed makes it.

    Each object is written to JSON once after each change, so that saving a big world is quick.
    """

    def __init__(self, world: World) -> None:
        """Of a world that is as its seed made it."""
        self._world = world
        self._seeded = frozenset(world.nodes)
        self._seeded_tokens = dict(world.tokens)
        self._written: dict[str, bytes] = {}
        """What changed, by id, written."""

    def captured(self) -> dict[str, Any]:
        """What is needed to write it, as it is at this moment; under the simulator's lock."""
        world = self._world
        touched, world.touched = world.touched, set()
        return {
            "nodes": [copy.copy(world.nodes[one]) for one in touched if one in world.nodes],
            # A list of templates is replaced and never changed, so the list itself can wait.
            "invented": {one: world.invented[one] for one in touched if one in world.invented},
            "gone": sorted(self._seeded - world.nodes.keys()),
            "there": set(world.nodes.keys()) - self._seeded,
            "tokens": [one for text, one in world.tokens.items() if self._seeded_tokens.get(text) is not one],
            "tokens_gone": [text for text in self._seeded_tokens if text not in world.tokens],
            "revoked": sorted(world.revoked),
            "signups": list(world.signups.values()),
            "random": state_of(world.random),
        }

    def written(self, captured: dict[str, Any]) -> bytes:
        """What was captured, as JSON."""
        for node in captured.pop("nodes"):
            self._written[node.id] = _node(node, captured["invented"].get(node.id))
        del captured["invented"]
        there = captured.pop("there")
        for one in [one for one in self._written if one not in there and one not in self._seeded]:
            del self._written[one]
        captured["tokens"] = _TOKENS.dump_python(captured["tokens"], mode="json")
        captured["signups"] = _SIGNUPS.dump_python(captured["signups"], mode="json")
        rest = json.dumps(captured, separators=(",", ":")).encode()
        return b'{"nodes":[' + b",".join(self._written.values()) + b"]," + rest[1:]

    def put_back(self, saved: dict[str, Any]) -> None:
        """Make the world what it was."""
        world = self._world
        for one in saved["gone"]:
            world.nodes.pop(one, None)
        wabas: list[tuple[Waba, dict[str, Any]]] = []
        for entry in saved["nodes"]:
            kind, extra = entry["kind"], entry.get("more", {})
            node = _KINDS[kind].validate_python(entry["node"])
            if isinstance(node, Waba):
                wabas.append((node, extra))
            else:
                world.put_back(node)
        # After their numbers, and new ones in the order in which they were made.
        for waba, extra in sorted(wabas, key=lambda pair: pair[0].index):
            waba.numbers = tuple(_number(world, one) for one in extra["numbers"])
            waba.templates = _templates(world, waba, extra["templates"])
            world.put_back(waba)
        world.tokens.update((one.text, one) for one in _TOKENS.validate_python(saved["tokens"]))
        for text in saved["tokens_gone"]:
            world.tokens.pop(text, None)
        world.revoked = set(saved["revoked"])
        world.signups = {one.code: one for one in _SIGNUPS.validate_python(saved["signups"])}
        put_state(world.random, saved["random"])


def config_of(simulator: Simulator) -> dict[str, Any]:
    """The knobs that make a simulator what it is, as JSON holds them."""
    return json.loads(simulator.config.model_dump_json(exclude=set(EXEMPT)))  # type: ignore[no-any-return]


def _node(node: Node, invented: list[Template] | None) -> bytes:
    adapter = _KINDS[node.kind]
    entry: dict[str, Any] = {"kind": node.kind}
    if isinstance(node, Waba):
        entry["node"] = adapter.dump_python(node, mode="json", exclude={"numbers", "templates"}) | {"numbers": []}
        entry["more"] = {
            "numbers": [one.id for one in node.numbers],
            "templates": _places(node.templates, invented or []),
        }
    else:
        entry["node"] = adapter.dump_python(node, mode="json")
    return json.dumps(entry, separators=(",", ":")).encode()


def _places(templates: list[Template] | None, invented: list[Template]) -> list[Any] | None:
    """The templates; one that is as the seed invents it by its place, nothing when all are."""
    if templates is None or templates is invented:
        return None
    places = {id(one): place for place, one in enumerate(invented)}
    return [
        places[id(one)] if id(one) in places else _KINDS["template"].dump_python(one, mode="json")
        for one in templates
    ]


def _templates(world: World, waba: Waba, saved: list[Any] | None) -> list[Template] | None:
    if saved is None:
        return None
    made = waba.made
    # Invented again, as when somebody first looked.
    waba.templates = None
    invented = world.listed(waba)
    waba.made = made
    changed = iter(_TEMPLATES.validate_python([one for one in saved if not isinstance(one, int)]))
    return [invented[one] if isinstance(one, int) else next(changed) for one in saved]


def _number(world: World, number_id: str) -> Number:
    node = world.nodes[number_id]
    if not isinstance(node, Number):
        raise TypeError(f"{number_id} is no phone number")
    return node


def _opened(path: Path, mode: str) -> IO[bytes]:
    """A file that only its owner can read, because it holds tokens."""
    flags = {"ab": os.O_APPEND | os.O_WRONLY, "r+b": os.O_RDWR, "wb": os.O_WRONLY | os.O_TRUNC}[mode]
    return os.fdopen(os.open(path, flags | os.O_CREAT, 0o600), mode)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _first_line(error: Exception) -> str:
    lines = f"{error}".splitlines()
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__


def _words(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
