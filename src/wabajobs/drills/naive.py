"""The other side of a drill: the same work in plain Celery, as most teams would write it. Nothing of ours in it.

A task for each kind; whatever goes wrong is tried again by `autoretry_for`, with exponential backoff and jitter,
five times; the fleet's syncs have a `rate_limit` under which all fits into the app's limit. Durations are what
Celery makes them (1, 2, 4 s … up to 600); only at the very end they are divided by the drill's speed.

`DRILL_NAIVE` names a JSON file: `url`, `app`, `token`, `secret`, `system_user`, `credit`, `broker`, `redis`,
`speed`, `syncs` (a rate limit).
"""

import json
import os
import time
from functools import cache
from pathlib import Path
from typing import Any, Final

import requests
from celery import Celery, Task
from redis import Redis

from wabajobs.drills.asking import picture
from wabajobs.drills.ends import ENDS

CONFIG: Final = json.loads(Path(os.environ["DRILL_NAIVE"]).read_text(encoding="utf-8"))
FAIR: Final[dict[str, Any]] = {
    "autoretry_for": (requests.RequestException,),
    "retry_backoff": True,
    "retry_backoff_max": 600,
    "retry_jitter": True,
    "max_retries": 5,
}

app = Celery("naive", broker=CONFIG["broker"], set_as_current=False)
app.conf.update(
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    task_acks_late=True,
    task_default_queue="naive",
    # What a rate limit holds back lies in the worker. Once all places are taken so, a worker on Redis fetches
    # about one message a second, whatever its rate: with room for all it is at its best.
    worker_prefetch_multiplier=10_000,
    worker_hijack_root_logger=False,
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
)


class Timed(Task):
    """A task in the drill's time, whose end is noted."""

    def retry(self, *args: Any, countdown: float | None = None, **more: Any) -> Any:
        """Try again; Celery's seconds pass at the drill's speed."""
        return super().retry(*args, countdown=(countdown or 0) / CONFIG["speed"], **more)

    def on_success(self, _retval: Any, _task_id: str, args: Any, _kwargs: Any) -> None:
        """It is done."""
        _ended(args[0], "done")

    def on_failure(self, _exc: Any, _task_id: str, args: Any, *_: Any) -> None:
        """Nobody will try it again."""
        _ended(args[0], "lost")


def _ended(number: int, how: str) -> None:
    _redis().rpush(ENDS, json.dumps([number, how, time.time()]))


@cache
def _redis() -> Redis:
    return Redis.from_url(CONFIG["redis"])


@cache
def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.headers["Authorization"] = f"Bearer {CONFIG['token']}"
    return session


def _call(method: str, path: str, **how: Any) -> Any:
    answer = _session().request(method, f"{CONFIG['url']}/v24.0/{path}", timeout=30, **how)
    answer.raise_for_status()
    return answer.json()


def _post(path: str, **fields: Any) -> Any:
    return _call("POST", path, json=fields)


def _get(path: str, **params: Any) -> Any:
    return _call("GET", path, params=params)


def _upload() -> str:
    content = picture()
    asked = {"file_name": "image.jpg", "file_length": len(content), "file_type": "image/jpeg"}
    session = _call("POST", f"{CONFIG['app']}/uploads", params=asked)["id"]
    headers = {"Authorization": f"OAuth {CONFIG['token']}", "file_offset": "0"}
    return str(_call("POST", session, data=content, headers=headers)["h"])


@app.task(name="ping")
def ping(number: int) -> None:
    """Say that there is somebody."""
    _ended(number, "up")


@app.task(name="template_sync", base=Timed, **FAIR, rate_limit=CONFIG["syncs"])
def template_sync(_number: int, waba: str) -> None:
    """Read all templates of a WABA."""
    after: str | None = None
    while True:
        page = _get(f"{waba}/message_templates", limit=CONFIG["page"], **({"after": after} if after else {}))
        if "next" not in page.get("paging", {}):
            return
        after = page["paging"]["cursors"]["after"]


@app.task(name="template_create", base=Timed, **FAIR)
def template_create(_number: int, waba: str, **template: Any) -> None:
    """Create a template."""
    _post(f"{waba}/message_templates", **template)


@app.task(name="template_media", base=Timed, **FAIR)
def template_media(_number: int, waba: str, components: list[dict[str, Any]], **template: Any) -> None:
    """Create a template with an image in its header."""
    header = {"type": "HEADER", "format": "IMAGE", "example": {"header_handle": [_upload()]}}
    _post(f"{waba}/message_templates", components=[header, *components], **template)


@app.task(name="template_edit", base=Timed, **FAIR)
def template_edit(_number: int, template: str, components: list[dict[str, Any]], **_: Any) -> None:
    """Edit a template."""
    _post(template, components=components)


@app.task(name="template_migration", base=Timed, **FAIR)
def template_migration(_number: int, waba: str, source: str) -> None:
    """Copy templates."""
    _post(f"{waba}/migrate_message_templates", source_waba_id=source, page_number=0, count=500)


@app.task(name="profile_update", base=Timed, **FAIR)
def profile_update(_number: int, number: str, about: str, **_: Any) -> None:
    """Change a profile."""
    _post(f"{number}/whatsapp_business_profile", messaging_product="whatsapp", about=about)


@app.task(name="profile_photo", base=Timed, **FAIR)
def profile_photo(_number: int, number: str, **_: Any) -> None:
    """Set a photo."""
    handle = _upload()
    _post(f"{number}/whatsapp_business_profile", messaging_product="whatsapp", profile_picture_handle=handle)


@app.task(name="channel_update", base=Timed, **FAIR)
def channel_update(_number: int, number: str, **_: Any) -> None:
    """Change a setting."""
    _post(f"{number}/settings", calling={"status": "ENABLED"})


@app.task(name="flow_publish", base=Timed, **FAIR)
def flow_publish(_number: int, waba: str, flow_json: dict[str, Any], **flow: Any) -> None:
    """Publish a flow."""
    _post(f"{waba}/flows", flow_json=json.dumps(flow_json), publish=True, **flow)


@app.task(name="number_registration", base=Timed, **FAIR)
def number_registration(_number: int, number: str, pin: str, **_: Any) -> None:
    """Register a number."""
    _post(f"{number}/register", messaging_product="whatsapp", pin=pin)


@app.task(name="number_migration", base=Timed, **FAIR)
def number_migration(_number: int, waba: str, source: str, number: str) -> None:
    """See whether a number can move."""
    _get(waba, fields="id,name")
    _get(source, fields="id,name")
    _get(number, fields="id,display_phone_number")


@app.task(name="onboarding", base=Timed, **FAIR)
def onboarding(_number: int, waba: str, number: str, code: str, pin: str) -> None:
    """Connect a customer."""
    token = _get("oauth/access_token", client_id=CONFIG["app"], client_secret=CONFIG["secret"], code=code)
    own = {"Authorization": f"Bearer {token['access_token']}"}
    _call("POST", f"{waba}/subscribed_apps", headers=own)
    user = {"user": CONFIG["system_user"], "tasks": ["MANAGE"]}
    _call("POST", f"{waba}/assigned_users", headers=own, json=user)
    _call("POST", f"{number}/register", headers=own, json={"messaging_product": "whatsapp", "pin": pin})


@app.task(name="hosting_change", base=Timed, **FAIR)
def hosting_change(_number: int, number: str, waba: str, data: str, password: str, pin: str) -> None:
    """Bring a number from an installation to the cloud."""
    backup = {"data": data, "password": password}
    _post(f"{number}/register", messaging_product="whatsapp", pin=pin, backup=backup)
    _post(f"{waba}/subscribed_apps")
    _get(number, fields="status,platform_type")
