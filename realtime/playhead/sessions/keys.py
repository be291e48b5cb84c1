"""Names of everything in the state store, and which of the 64 partitions a listener's live in.

Every key of a listener carries the tag `{<partition>}`, so one function call touches one slot of a cluster, and two
devices that press play at once meet in it. The number of partitions is fixed for ever: changing it loses every session.
"""

import binascii
import re

PARTITIONS = 64
SCRIPT_CHANNEL = "audio:script:"
SESSION, MOVES, CONFLICTS = "audio:session:", "audio:moves:", "audio:conflicts:"
"""What comes before a session's id; the listener's `suffix` comes after it."""
REVOKED_BY_OPERATOR = "audio:revoked:operator"
"""Stream: sessions and scripts that an operator has revoked. They are few and anybody's, so it carries no tag."""
DEAD_LETTER_NAME = re.compile(r"([0-9]{1,2}):([0-9]{1,20}-[0-9]{1,20})")


def partition_of(listener_id: str) -> int:
    """CRC-16/XMODEM of the listener's id, as Redis Cluster hashes keys, over the partitions."""
    return binascii.crc_hqx(listener_id.encode(), 0) % PARTITIONS


def epoch_key(partition: int) -> str:
    return f"audio:epoch:{{{partition}}}"


def deadlines_key(partition: int) -> str:
    """Sorted set: sessions and connections of the partition by the server time at which somebody must look at them."""
    return f"audio:deadlines:{{{partition}}}"


def journal_key(partition: int) -> str:
    """Stream: what PostgreSQL has not got yet."""
    return f"audio:journal:{{{partition}}}"


def dead_key(partition: int) -> str:
    """Stream: entries of the journal that PostgreSQL has refused, with the reasons."""
    return f"audio:dead:{{{partition}}}"


def revoked_key(partition: int) -> str:
    """Stream: sessions of the partition that have ended; the list that media tokens are held against."""
    return f"audio:revoked:{{{partition}}}"


def session_keys(session_id: str) -> list[str]:
    """Where a session can be, for who does not know whose it is."""
    return [f"{SESSION}{session_id}:{{{partition}}}" for partition in range(PARTITIONS)]


def script_channel(script_id: str) -> str:
    """Sharded pub/sub channel of how far a script is prepared; scripts are nobody's, so it carries no tag."""
    return f"{SCRIPT_CHANNEL}{script_id}"


def script_of_channel(channel: str) -> str:
    return channel.removeprefix(SCRIPT_CHANNEL)


def node_channel(node_id: str) -> str:
    """Sharded pub/sub channel of what a process tells itself."""
    return f"audio:node:{node_id}"


def dead_letter_name(partition: int, letter_id: str) -> str:
    """What people call a dead letter, whose id is one of its partition's stream."""
    return f"{partition}:{letter_id}"


def dead_letter_id(name: str) -> tuple[int, str]:
    """The partition and the id in its stream. Raises ValueError."""
    found = DEAD_LETTER_NAME.fullmatch(name)
    if found is None or int(found[1]) >= PARTITIONS:
        raise ValueError(f"{name!r} is no dead letter's name, such as 7:1795404000000-0")
    return int(found[1]), found[2]


class ListenerKeys:
    """The keys of one listener. `tag` has its partition, found once for all of them; `suffix` ends each key with it."""

    __slots__ = ("listener_id", "partition", "suffix", "tag")

    def __init__(self, listener_id: str) -> None:
        self.listener_id = listener_id
        self.partition = partition_of(listener_id)
        self.tag = f"{{{self.partition}}}"
        self.suffix = f":{self.tag}"

    @property
    def epoch(self) -> str:
        return epoch_key(self.partition)

    @property
    def live(self) -> str:
        """Hash: script id to the id of its live session."""
        return f"audio:live:{self.listener_id}:{self.tag}"

    @property
    def presence(self) -> str:
        """Hash: connection id to the device that holds it, with its lease."""
        return f"audio:presence:{self.listener_id}:{self.tag}"

    @property
    def presence_version(self) -> str:
        """Text: counts what becomes of the listener's connections."""
        return f"audio:present:{self.listener_id}:{self.tag}"

    @property
    def channel(self) -> str:
        """Sharded pub/sub channel of everything that the listener's devices see."""
        return f"audio:listener:{self.listener_id}:{self.tag}"

    @property
    def deadlines(self) -> str:
        return deadlines_key(self.partition)

    @property
    def journal(self) -> str:
        return journal_key(self.partition)

    @property
    def revoked(self) -> str:
        return revoked_key(self.partition)

    @property
    def left(self) -> str:
        """Text: server time at which the listener's last connection went."""
        return f"audio:left:{self.listener_id}:{self.tag}"

    @property
    def begun(self) -> str:
        """Text: server time, in ms, by which the listener's sessions would be begun, had they come evenly."""
        return f"audio:begun:{self.listener_id}:{self.tag}"

    @property
    def answer_prefix(self) -> str:
        """What comes before a command's id."""
        return f"audio:answer:{self.listener_id}:"

    def answer(self, command_id: str) -> str:
        """Text: what the listener's command of that id was answered."""
        return f"audio:answer:{self.listener_id}:{command_id}:{self.tag}"

    def answers(self, session_id: str) -> str:
        """List: the ids of the session's commands whose answers are kept, oldest first."""
        return f"audio:answers:{session_id}:{self.tag}"

    def moves(self, session_id: str) -> str:
        """List: the session's latest moves, oldest first."""
        return f"{MOVES}{session_id}{self.suffix}"

    def conflicts(self, session_id: str) -> str:
        """Hash: the session's latest conflicts by their entry's id."""
        return f"{CONFLICTS}{session_id}{self.suffix}"

    @property
    def ended_prefix(self) -> str:
        """What comes before a script's id."""
        return f"audio:ended:{self.listener_id}:"

    def ended(self, script_id: str) -> str:
        """Text: the id of the session of that script that ended last."""
        return f"audio:ended:{self.listener_id}:{script_id}:{self.tag}"

    def session(self, session_id: str) -> str:
        """Hash: `version`, `ended` and the encoded `state` of one session."""
        return f"{SESSION}{session_id}{self.suffix}"
