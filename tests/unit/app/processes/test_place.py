"""What a supervisor and its processes tell each other, by variables, descriptors and a pipe."""

import os
import socket

import pytest

from playhead.app.processes.place import Place, environment


def test_a_process_that_nobody_supervises_has_no_place() -> None:
    assert Place.from_environment({"PATH": "/bin"}) is None


async def test_a_process_finds_its_listeners_and_says_when_it_serves_and_when_it_is_ready() -> None:
    reading, report = os.pipe()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address, inherited = listener.getsockname(), listener.dup()
    variables = environment(3, [inherited], report)
    descriptor = inherited.detach()
    place = Place.from_environment(variables)
    assert place is not None and place.slot == 3
    assert [each.getsockname() for each in place.listeners] == [address]
    assert not os.get_inheritable(descriptor) and not os.get_inheritable(report)

    answers = iter((False, False, True))

    async def ready() -> bool:
        answer = next(answers)
        if not answer:
            os.set_blocking(reading, False)
            said.append(os.read(reading, 100) if not said else b"")
        return answer

    said: list[bytes] = []
    await place.report_ready(ready)
    assert said == [b"serving\n", b""]
    assert os.read(reading, 100) == b"ready\n"
    assert os.read(reading, 100) == b"", "the pipe is closed"
    os.close(reading)
    for each in place.listeners:
        each.close()


async def test_a_process_whose_supervisor_is_gone_goes_on() -> None:
    reading, report = os.pipe()
    os.close(reading)

    async def ready() -> bool:
        return True

    await Place(slot=0, listeners=(), report=report).report_ready(ready)
    with pytest.raises(OSError):
        os.fstat(report)
