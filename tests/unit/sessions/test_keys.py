"""Names in the state store: one slot per listener, whose number never changes."""

import binascii
import uuid

import pytest

from playhead.sessions.keys import PARTITIONS, ListenerKeys, epoch_key, partition_of

LISTENER_ID = "11111111-1111-4111-8111-111111111111"


def test_the_partitions_are_sixty_four_for_ever() -> None:
    assert PARTITIONS == 64
    assert {partition_of(str(uuid.UUID(int=number))) for number in range(2_000)} == set(range(64))


@pytest.mark.parametrize(
    ("listener_id", "partition"),
    [
        # 0x31C3 is the check value of CRC-16/XMODEM for this text
        ("123456789", 0x31C3 % 64),
        (LISTENER_ID, 16),
        ("22222222-2222-4222-8222-222222222222", 62),
        ("", 0),
    ],
)
def test_a_listener_stays_in_its_partition(listener_id: str, partition: int) -> None:
    assert partition_of(listener_id) == partition


def test_the_checksum_is_the_one_of_the_cluster() -> None:
    # the vector of the Redis Cluster specification: the slot of "foo" is 12182
    assert binascii.crc_hqx(b"foo", 0) % 16_384 == 12_182


def test_every_key_of_a_listener_carries_its_partition_as_the_only_tag() -> None:
    keys = ListenerKeys(LISTENER_ID)
    names = [keys.epoch, keys.live, keys.presence, keys.channel, keys.session("s"), keys.ended("script")]
    assert all(name.count("{") == name.count("}") == 1 and name.endswith(keys.tag) for name in names)
    assert len(set(names)) == len(names)
    assert keys.epoch == epoch_key(partition_of(LISTENER_ID))


def test_keys_of_two_listeners_or_two_scripts_differ() -> None:
    mine, other = ListenerKeys("123456789"), ListenerKeys("123456789x")
    assert not {mine.live, mine.presence, mine.channel, mine.ended("a")} & {
        other.live,
        other.presence,
        other.channel,
        other.ended("a"),
    }
    assert mine.ended("a") != mine.ended("b") and mine.session("a") != mine.session("b")
