"""Names of everything in the state store, and which of the 64 partitions a listener's live in.

Every key of a listener carries the tag `{<partition>}`, so one function call touches one slot of a cluster, and two
devices that press play at once meet in it. The number of partitions is fixed for ever: changing it loses every session.
"""

import binascii
from dataclasses import dataclass

PARTITIONS = 64


def partition_of(listener_id: str) -> int:
    """CRC-16/XMODEM of the listener's id, as Redis Cluster hashes keys, over the partitions."""
    return binascii.crc_hqx(listener_id.encode(), 0) % PARTITIONS


def epoch_key(partition: int) -> str:
    return f"audio:epoch:{{{partition}}}"


@dataclass(frozen=True, slots=True)
class ListenerKeys:
    """The keys of one listener."""

    listener_id: str

    @property
    def tag(self) -> str:
        return f"{{{partition_of(self.listener_id)}}}"

    @property
    def epoch(self) -> str:
        return epoch_key(partition_of(self.listener_id))

    @property
    def live(self) -> str:
        """Hash: script id to the id of its live session."""
        return f"audio:live:{self.listener_id}:{self.tag}"

    @property
    def presence(self) -> str:
        """Hash: connection id to the device that holds it, with its lease."""
        return f"audio:presence:{self.listener_id}:{self.tag}"

    @property
    def channel(self) -> str:
        """Sharded pub/sub channel of everything that the listener's devices see."""
        return f"audio:listener:{self.listener_id}:{self.tag}"

    def ended(self, script_id: str) -> str:
        """Text: the id of the session of that script that ended last."""
        return f"audio:ended:{self.listener_id}:{script_id}:{self.tag}"

    def session(self, session_id: str) -> str:
        """Hash: `version`, `ended` and the encoded `state` of one session."""
        return f"audio:session:{session_id}:{self.tag}"
