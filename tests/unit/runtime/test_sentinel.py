"""Which of several answers of sentinels counts. How they are asked is tested with real ones."""

from playhead.runtime.sentinel import Told, told_by


def fields(ip: bytes = b"10.0.0.1", flags: bytes = b"master", config_epoch: bytes = b"3") -> list[bytes]:
    return [b"ip", ip, b"port", b"6379", b"flags", flags, b"config-epoch", config_epoch]


def test_the_address_is_that_which_new_clients_are_to_have() -> None:
    assert told_by(fields(), [b"10.0.0.1", b"6379"]) == Told(3, True, ("10.0.0.1", 6379))


def test_a_primary_that_a_sentinel_sees_down_is_not_up() -> None:
    assert not told_by(fields(flags=b"s_down,master"), [b"10.0.0.1", b"6379"]).up
    assert not told_by(fields(flags=b"master,o_down"), [b"10.0.0.1", b"6379"]).up


def test_a_promoted_replica_is_up_though_the_failover_has_not_ended() -> None:
    told = told_by(fields(flags=b"s_down,o_down,master"), [b"10.0.0.2", b"6379"])
    assert told.up and told.address == ("10.0.0.2", 6379)


def test_the_latest_configuration_counts_and_of_equal_ones_that_which_sees_the_primary_up() -> None:
    old, down, new = Told(3, True, ("a", 1)), Told(4, False, ("b", 1)), Told(4, True, ("b", 1))
    assert max(old, down, new) == new
    assert max(old, down) == down
