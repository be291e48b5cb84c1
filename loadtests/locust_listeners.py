"""Listeners as locust users: each has two devices over sockets, and sometimes an app that speaks REST.

Run by `bench_locust.py`, which starts the server. Settings come by environment:
    PLAYHEAD_LOAD_JWT_KEY   key that the server's tokens are signed with
    PLAYHEAD_LOAD_SCRIPT    script that everybody listens to
Only locust may import this file: importing locust changes the whole process.
"""

import os
import random
import time
import uuid
from typing import Any

import gevent
import socketio
from gevent.event import AsyncResult
from locust import HttpUser, between, events, task

from playhead.auth.tokens import issue

JWT_KEY = os.environ["PLAYHEAD_LOAD_JWT_KEY"]
SCRIPT_ID = os.environ["PLAYHEAD_LOAD_SCRIPT"]
AUDIENCE = "authenticated"
TOKEN_S = 3600
ANSWER_TIMEOUT_S = 10
API = "/api/v1/audio"
REPORT_INTERVAL_S = 10


def record(name: str, started_s: float, error: Exception | None = None) -> None:
    """One measurement in locust's table, in ms."""
    events.request.fire(  # type: ignore[no-untyped-call]
        request_type="SOCKET",
        name=name,
        response_time=(time.perf_counter() - started_s) * 1000,
        response_length=0,
        exception=error,
    )


def _crossed(event: str, answer: dict[str, Any]) -> bool:
    """A report that met a newer revision on its way is refused by the rules: that is no failure."""
    return event == "progress" and answer["error"]["code"] == "conflict"


class Device:
    """One player: a socket, the newest state it was told, and whoever waits for a certain command's state."""

    def __init__(self, url: str, token: str, name: str) -> None:
        self.id = str(uuid.uuid4())
        self.state: dict[str, Any] = {}
        self.expected: dict[str, AsyncResult[None]] = {}
        self._socket = socketio.Client(reconnection=False)
        self._socket.on("state", self._seen)
        device = {"id": self.id, "name": name, "kind": "phone"}
        auth = {"token": token, "device": device, "protocol": 1}
        self._socket.connect(url, auth=auth, transports=["websocket"], wait_timeout=ANSWER_TIMEOUT_S)

    def _seen(self, state: dict[str, Any]) -> None:
        self.apply(state)
        command_id = (state["cause"] or {}).get("command_id")
        if command_id in self.expected:
            self.expected.pop(command_id).set(None)

    def apply(self, state: dict[str, Any]) -> None:
        """Takes a state unless it is older than the one known."""
        known = (self.state.get("epoch", -1), self.state.get("revision", -1))
        if (state["epoch"], state["revision"]) > known:
            self.state = state

    def send(self, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Sends and waits for the ack, measured; an ack with an error counts as a failure."""
        started_s = time.perf_counter()
        try:
            answer: dict[str, Any] = self._socket.call(event, payload, timeout=ANSWER_TIMEOUT_S)
        except Exception as error:
            record(f"{event} → ack", started_s, error)
            raise
        refused = None if answer["ok"] or _crossed(event, answer) else RuntimeError(answer["error"]["code"])
        record(f"{event} → ack", started_s, refused)
        if answer.get("state"):
            self.apply(answer["state"])
        return answer

    def close(self) -> None:
        self._socket.disconnect()


class Listener(HttpUser):
    """One person with a phone that sounds and a desk that looks on."""

    wait_time = between(0.5, 1.5)

    def on_start(self) -> None:
        token = issue(
            JWT_KEY, listener_id=str(uuid.uuid4()), audience=AUDIENCE, expires_at_s=int(time.time()) + TOKEN_S
        )
        self.client.headers["Authorization"] = f"Bearer {token}"
        self.phone, self.desk = (Device(self.host or "", token, name) for name in ("Phone", "Desk"))
        for device in (self.phone, self.desk):
            device.send("join", {"script_id": SCRIPT_ID})
        answer = self.phone.send("play", {"script_id": SCRIPT_ID, "position": 0.0, "device_id": self.phone.id})
        self.session_id = answer["state"]["session_id"]
        self.duration_s = answer["state"]["duration"]
        self.seq = 0
        self.reporting = gevent.spawn(self._report_for_ever)

    def on_stop(self) -> None:
        self.reporting.kill()
        self.phone.close()
        self.desk.close()

    def _report_for_ever(self) -> None:
        while True:
            gevent.sleep(REPORT_INTERVAL_S)
            state = self.phone.state
            if not state["playing"] or state["active_device"] != self.phone.id:
                continue
            self.seq += 1
            now_s = time.time()
            ran_s = max(0.0, now_s - state["anchored_at"] / 1000) * state["rate"]
            place = min(self.duration_s, state["position"] + ran_s)
            told = {"position": place, "at": round(now_s * 1000), "playing": True}
            report = {**told, "revision": state["revision"], "seq": self.seq}
            self.phone.send("progress", {"session_id": self.session_id, **report})

    def _command(self, sender: Device, witness: Device, event: str, payload: dict[str, Any]) -> None:
        """A command on one device; measured until its ack, and until the other device has the state."""
        command_id = str(uuid.uuid4())
        waiting: AsyncResult[None] = AsyncResult()
        witness.expected[command_id] = waiting
        started_s = time.perf_counter()
        answer = sender.send(event, {"session_id": self.session_id, "command_id": command_id, **payload})
        if not answer["ok"] or (answer["state"]["cause"] or {}).get("command_id") != command_id:
            witness.expected.pop(command_id, None)
            return
        try:
            waiting.get(timeout=ANSWER_TIMEOUT_S)
        except gevent.Timeout as error:
            record("state on the other device", started_s, RuntimeError(str(error)))
            return
        record("state on the other device", started_s)

    def _place(self) -> float:
        return round(random.uniform(0, self.duration_s - 1), 3)

    @task(8)
    def seek_on_the_phone(self) -> None:
        self._command(self.phone, self.desk, "seek", {"position": self._place()})

    @task(4)
    def seek_on_the_desk(self) -> None:
        self._command(self.desk, self.phone, "seek", {"position": self._place()})

    @task(2)
    def pause_and_play(self) -> None:
        self._command(self.desk, self.phone, "pause", {})
        self._command(self.phone, self.desk, "play", {"device_id": self.phone.id})

    @task(2)
    def loop(self) -> None:
        start = self._place() / 2
        self._command(self.desk, self.phone, "loop", {"start": start, "end": start + 10, "enabled": True})

    @task(1)
    def rate(self) -> None:
        self._command(self.phone, self.desk, "rate", {"rate": random.choice([0.75, 1.0, 1.25, 1.5])})

    @task(2)
    def seek_over_rest(self) -> None:
        body = {"session_id": self.session_id, "position": self._place()}
        self.client.post(f"{API}/seek", json=body, name="POST /seek")

    @task(2)
    def stream(self) -> None:
        self.client.get(f"{API}/stream/{SCRIPT_ID}?quality=auto", name="GET /stream")

    @task(1)
    def bookmark(self) -> None:
        body = {"script_id": SCRIPT_ID, "position": self._place(), "title": "Load"}
        made = self.client.post(f"{API}/bookmark", json=body, name="POST /bookmark")
        self.client.get(f"{API}/bookmarks/{SCRIPT_ID}", name="GET /bookmarks")
        if made.ok:
            self.client.delete(f"{API}/bookmark/{made.json()['bookmark_id']}", name="DELETE /bookmark")
