"""What a server's log says of requests that nobody should send, over raw sockets, in both formats."""

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SECRET = "eyJhbGciOiJub25lIn0-s3cret"
PROGRAM = Path(__file__).with_name("server_process.py")
ANSWER_TIMEOUT_S = 10.0
END_TIMEOUT_S = 20.0

HEAD = b"Host: localhost\r\nConnection: close\r\n"
TOKEN = b"Authorization: Bearer " + SECRET.encode()
UNREADABLE = {
    "a control character in a header": b"GET /bug HTTP/1.1\r\n" + HEAD + TOKEN + b"\x00x\r\n\r\n",
    "a control character in a path": b"GET /media/\x01" + SECRET.encode() + b" HTTP/1.1\r\n" + HEAD + b"\r\n",
    "a path that is too long": b"GET /p/" + SECRET.encode() * 1_000 + b" HTTP/1.1\r\n" + HEAD + b"\r\n",
    "a header that is too long": b"GET /bug HTTP/1.1\r\n" + HEAD + TOKEN + b"x" * 20_000 + b"\r\n\r\n",
    "a length that is none": b"POST /body HTTP/1.1\r\n" + HEAD + b"Content-Length: " + SECRET.encode() + b"\r\n\r\n",
    "a body that is not chunked as it says": b"POST /body HTTP/1.1\r\n"
    + HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + SECRET.encode()
    + b"\r\n\r\n",
}
NO_METHOD = SECRET.encode() + b"{} / HTTP/1.1\r\n" + HEAD + b"\r\n"
BUG = b"GET /bug HTTP/1.1\r\n" + HEAD + TOKEN + b"\r\n\r\n"
SESSION = b"GET /socket.io/?EIO=4&transport=polling&sid=" + SECRET.encode() + b" HTTP/1.1\r\n" + HEAD + b"\r\n"


class Server:
    """The process; `end` answers all that it wrote."""

    def __init__(self, log_format: str, level: str) -> None:
        self._log = tempfile.TemporaryFile()
        command = [sys.executable, str(PROGRAM), log_format, level]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())

    def send(self, request: bytes) -> bytes:
        """The whole answer."""
        with socket.create_connection(("127.0.0.1", self._port), ANSWER_TIMEOUT_S) as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(65_536), b""))

    def end(self) -> str:
        if not self._log.closed:
            printed, _ = self._process.communicate(timeout=END_TIMEOUT_S)
            self._log.seek(0)
            self._written = printed + self._log.read().decode()
            self._log.close()
        return self._written


@pytest.fixture(params=["json", "console"])
def log_format(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def level() -> str:
    return "info"


@pytest.fixture
def server(log_format: str, level: str) -> Iterator[Server]:
    server = Server(log_format, level)
    yield server
    server.end()


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_request_that_cannot_be_read_is_logged_in_a_line_without_anything_of_it(server: Server, kind: str) -> None:
    assert server.send(UNREADABLE[kind]).startswith(b"HTTP/1.")
    written = server.end()
    assert SECRET not in written
    assert written.count("was refused; it is not shown") == 1, written


@pytest.mark.parametrize("level", ["debug"])
def test_what_is_no_http_at_all_is_not_shown_at_the_lowest_level_either(server: Server) -> None:
    assert b" 400 " in server.send(NO_METHOD)
    written = server.end()
    assert SECRET not in written
    assert written.count("was refused; it is not shown") == 1, written


def test_a_bug_of_ours_is_logged_with_its_frames_and_no_variable(server: Server) -> None:
    assert b" 500 " in server.send(BUG)
    written = server.end()
    assert "RuntimeError: a bug of ours" in written and "in fails" in written
    assert SECRET not in written


def posted(body: bytes, sid: bytes) -> bytes:
    return (
        b"POST /socket.io/?EIO=4&transport=polling&sid=" + sid + b" HTTP/1.1\r\n" + HEAD
        + b"Content-Type: text/plain\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    )  # fmt: skip


@pytest.fixture
def socket_sid(server: Server) -> bytes:
    answer = server.send(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n" + HEAD + b"\r\n")
    return str(json.loads(answer[answer.index(b'{"sid"') : answer.rindex(b"}") + 1])["sid"]).encode()


@pytest.mark.parametrize("packet", [b'40{"token":"%s"}', b'4%s"', b'42["%s"', b'451-["x",{"a":%s}]'])
def test_a_packet_that_makes_the_socket_server_fail_is_not_in_the_log(
    server: Server, socket_sid: bytes, packet: bytes
) -> None:
    server.send(posted(packet % SECRET.encode(), socket_sid))
    written = server.end()
    assert SECRET not in written
    assert "Traceback" in written, written


def test_a_session_that_is_none_is_not_named_and_is_said_in_our_format(server: Server, log_format: str) -> None:
    assert b" 400 " in server.send(SESSION)
    written = server.end()
    assert SECRET not in written
    assert written.count("was refused; it is not shown") == 1, written
    if log_format == "json":
        assert all(json.loads(line)["level"] == "error" for line in written.splitlines())
