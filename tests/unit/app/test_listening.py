"""What is said of a place where nobody can listen: the address is wrong, or the port is taken."""

import errno
import os
import socket

import pytest

from playhead.app.listening import cannot_listen


def said(error: OSError | UnicodeError) -> str:
    return cannot_listen(error, "somewhere", 8080, host_setting="PLAYHEAD_HOST", port_setting="PLAYHEAD_PORT")


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL)),
        UnicodeError("label empty or too long"),
    ],
)
def test_a_wrong_address_is_no_matter_of_the_port(error: OSError | UnicodeError) -> None:
    assert "'somewhere' is no address of this machine" in said(error)
    assert "PLAYHEAD_HOST" in said(error) and "PLAYHEAD_PORT" not in said(error)


@pytest.mark.parametrize("number", [errno.EADDRINUSE, errno.EACCES])
def test_a_port_that_is_not_to_be_had_is_no_matter_of_the_address(number: int) -> None:
    assert "Port 8080 on somewhere cannot be used" in said(OSError(number, os.strerror(number)))
    assert "PLAYHEAD_PORT" in said(OSError(number, os.strerror(number)))
