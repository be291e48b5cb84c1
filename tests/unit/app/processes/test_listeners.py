"""Listeners of several slots on one port."""

import socket

import pytest

from playhead.app.processes.listeners import open_listeners
from playhead.runtime.settings import SettingsError

HOST = "127.0.0.1"


def test_every_slot_has_a_listener_on_the_same_port_which_the_system_may_choose() -> None:
    with open_listeners(HOST, 0, 3, 16) as slots:
        addresses = {listener.getsockname() for (listener,) in slots}
        assert len(slots) == 3 and len(addresses) == 1
        assert addresses.pop()[1] > 0


def test_connections_are_spread_over_the_slots_and_taken_though_nobody_accepts_them_yet() -> None:
    with open_listeners(HOST, 0, 2, 64) as slots:
        address = slots[0][0].getsockname()
        clients = [socket.create_connection(address, timeout=5) for _ in range(40)]
        for (listener,) in slots:
            listener.settimeout(5)
            listener.accept()[0].close()
        for client in clients:
            client.close()


def test_a_port_that_is_shared_by_others_is_not_joined() -> None:
    with open_listeners(HOST, 0, 2, 16) as slots:
        port = slots[0][0].getsockname()[1]
        with pytest.raises(SettingsError, match="PLAYHEAD_PORT"), open_listeners(HOST, port, 2, 16):
            pass


def test_the_port_is_free_again_afterwards() -> None:
    with open_listeners(HOST, 0, 2, 16) as slots:
        port = slots[0][0].getsockname()[1]
    with open_listeners(HOST, port, 2, 16) as slots:
        assert slots[1][0].getsockname()[1] == port


def test_an_address_that_is_not_of_this_machine_is_told_with_its_setting() -> None:
    with pytest.raises(SettingsError, match="PLAYHEAD_HOST"), open_listeners("192.0.2.1", 0, 2, 16):
        pass
