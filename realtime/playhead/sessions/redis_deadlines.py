"""What the sorted set of deadlines in Valkey names: `s|<listener>|<session>` and `c|<listener>|<connection>`."""

from playhead.sessions.store import DueSession, LapsedConnection


def member_of(item: DueSession | LapsedConnection) -> str:
    if isinstance(item, DueSession):
        return f"s|{item.listener_id}|{item.session_id}"
    return f"c|{item.listener_id}|{item.connection_id}"


def item_of(member: bytes) -> DueSession | LapsedConnection:
    kind, listener_id, thing_id = member.decode().split("|")
    if kind == "s":
        return DueSession(listener_id=listener_id, session_id=thing_id)
    return LapsedConnection(listener_id=listener_id, connection_id=thing_id)
