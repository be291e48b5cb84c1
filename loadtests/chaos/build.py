"""Listeners, their devices and their apps for a running system, by a plan."""

from random import Random
from uuid import UUID

import aiohttp

from loadtests.chaos.device import Device
from loadtests.chaos.record import Record
from loadtests.chaos.system import System
from loadtests.chaos.traffic import App, Gate, Listener, Plan, Traffic

DEVICES = ("phone", "desk")


def make_traffic(system: System, plan: Plan, record: Record, http: aiohttp.ClientSession) -> Traffic:
    """Not started yet. Devices begin spread over the servers."""
    chance, gate = Random(plan.seed), Gate()
    listeners = [_listener(system, plan, record, http, gate, chance) for _ in range(plan.listeners)]
    return Traffic(listeners, gate, record)


def _listener(
    system: System, plan: Plan, record: Record, http: aiohttp.ClientSession, gate: Gate, chance: Random
) -> Listener:
    listener_id = str(UUID(int=chance.getrandbits(128), version=4))
    token = system.processes.token(listener_id, valid_s=24 * 3600)
    urls = [list(system.urls), list(reversed(system.urls))]
    devices = tuple(
        Device(
            device_id=device_id,
            listener_id=listener_id,
            script_id=system.script_id,
            token=token,
            urls=urls[chance.randrange(2)],
            record=record,
            chance=Random(chance.getrandbits(64)),
            hurry=plan.hurry,
            lost_acks=plan.lost_acks,
        )
        for device_id in DEVICES
    )
    app = App(
        listener_id=listener_id,
        token=token,
        urls=urls[chance.randrange(2)],
        record=record,
        http=http,
        chance=Random(chance.getrandbits(64)),
        lost_acks=plan.lost_acks,
    )
    return Listener(listener_id=listener_id, script_id=system.script_id, devices=devices, app=app, plan=plan, gate=gate)
