"""A client that speaks plain HTTP to a simulator."""

from __future__ import annotations

from typing import Any

import requests

from wabajobs.simulator import Simulator


class Client:
    """One keep-alive connection with the first app's token."""

    def __init__(self, simulator: Simulator, *, app: int = 0) -> None:
        self.simulator = simulator
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {simulator.world.apps[app].token}"

    def get(self, path: str, **parameters: Any) -> requests.Response:
        return self.session.get(f"{self.simulator.url}/v23.0/{path}", params=parameters, timeout=10)

    def post(self, path: str, **options: Any) -> requests.Response:
        """Post what `requests` takes: `data=`, `json=`, `files=`, `params=`, `headers=`."""
        return self.session.post(f"{self.simulator.url}/v23.0/{path}", timeout=10, **options)

    def delete(self, path: str, **parameters: Any) -> requests.Response:
        return self.session.delete(f"{self.simulator.url}/v23.0/{path}", params=parameters, timeout=10)

    def templates(self, waba: str | None = None, **parameters: Any) -> requests.Response:
        return self.get(f"{waba or self.simulator.world.waba_ids[0]}/message_templates", **parameters)

    def control(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(
            method, f"{self.simulator.url}/_simulator/{path}", timeout=10, allow_redirects=False, **options
        )


def error_of(answer: requests.Response) -> dict[str, Any]:
    """The answer's Graph error, its shape checked."""
    body = answer.json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert {"message", "type", "code", "fbtrace_id"} <= set(error)
    assert answer.headers["Content-Type"] == "application/json; charset=UTF-8"
    return error
