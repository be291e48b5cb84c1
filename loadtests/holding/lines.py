"""TCP connections of a load process, tens of thousands from a few addresses."""

import asyncio
import socket


async def connected(source: str, host: str, port: int) -> socket.socket:
    """A connection from the address `source`.

    Its port is looked for once it is known where the connection goes (IP_BIND_ADDRESS_NO_PORT, ip(7)): to find one that
    is free for any peer takes the kernel longer than all the rest, where most are in use.
    """
    connection = socket.socket()
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
        connection.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(connection, (host, port))
    except BaseException:
        connection.close()
        raise
    return connection
