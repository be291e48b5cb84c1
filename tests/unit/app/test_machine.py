"""How many sockets a process may hold, by its settings and by its file descriptors."""

import pytest

from playhead.app.machine import REST_CONNECTIONS_MIN, SHARE_MAX, raised_descriptors, socket_limits
from playhead.runtime.settings import load


def test_where_descriptors_are_many_the_settings_count() -> None:
    limits = socket_limits(load(process_sockets_max=700, process_sockets_per_s=7, address_sockets_max=9), 1_000_000)
    assert (limits.sockets_max, limits.per_s, limits.address_sockets_max) == (700, 7, 9)


@pytest.mark.parametrize("descriptors", [256, 1_024, 4_096, 20_000, 65_536])
def test_sockets_leave_room_for_rest_for_half_open_connections_and_for_what_is_no_connection(descriptors: int) -> None:
    settings = load(process_sockets_max=1_000_000)
    limits = socket_limits(settings, descriptors)
    reserved = descriptors - limits.connections_max
    rest = limits.connections_max - limits.sockets_max - limits.half_open_max
    share = descriptors // SHARE_MAX
    assert reserved == min(settings.process_descriptors_reserved, share)
    assert limits.half_open_max == min(settings.process_half_open_max, share)
    assert rest == min(REST_CONNECTIONS_MIN, share)
    assert limits.sockets_max > descriptors // 2


def test_a_process_may_use_what_the_system_allows() -> None:
    assert raised_descriptors() == raised_descriptors() > 0
