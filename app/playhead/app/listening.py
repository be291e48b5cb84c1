"""Why a process cannot listen somewhere, in a sentence that names the setting to change: the address or the port."""

import errno
import socket

ADDRESS_TROUBLE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL)


def cannot_listen(
    error: OSError | UnicodeError, host: str, port: int, *, host_setting: str, port_setting: str, by: str = ""
) -> str:
    """What to do about `error`; `by` says who has the port, where that is known."""
    if not isinstance(error, OSError) or isinstance(error, socket.gaierror) or error.errno in ADDRESS_TROUBLE:
        why = error.strerror if isinstance(error, OSError) else "not a name of a host"
        return (
            f"{host!r} is no address of this machine ({why}). Set {host_setting} to 127.0.0.1 for this "
            "machine alone, to 0.0.0.0 for every network that it is in, or to an address of its own."
        )
    return f"Port {port} on {host} cannot be used: {error.strerror}{by}. Choose another one with {port_setting}."
