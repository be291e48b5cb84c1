"""The rules of how playlists and media come over HTTP, of what was fetched elsewhere."""

from collections.abc import Iterator
from dataclasses import dataclass

from playhead.media.authoring.rules import Breach, Rule

OK = 200
PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
FMP4_TYPES = ("audio/mp4", "video/mp4", "video/iso.segment")
_LOOPBACK = ("localhost", "[::1]", "127.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An answer to a GET that takes gzip. `name` stands for it in what is told; header fields are "" when not there."""

    name: str
    status: int
    scheme: str
    host: str
    redirected: bool
    content_type: str
    content_encoding: str


def check_playlist_delivery(delivery: Delivery) -> Iterator[Breach]:
    if delivery.status != OK:
        yield _unavailable(delivery)
        return
    if delivery.content_encoding.strip().lower() != "gzip":
        yield Breach(Rule.GZIP, delivery.name, f"this has {delivery.content_encoding or 'no encoding'}")
    if _media_type(delivery) != PLAYLIST_TYPE:
        yield Breach(Rule.PLAYLIST_TYPE, delivery.name, f"this is {delivery.content_type or 'without a type'}")
    yield from _transport(delivery)


def check_media_delivery(delivery: Delivery) -> Iterator[Breach]:
    if delivery.status != OK:
        yield _unavailable(delivery)
        return
    if delivery.redirected:
        yield Breach(Rule.NO_REDIRECT, delivery.name, "this was")
    if _media_type(delivery) not in FMP4_TYPES:
        yield Breach(Rule.MEDIA_TYPE, delivery.name, f"this is {delivery.content_type or 'without a type'}")
    yield from _transport(delivery)


def _unavailable(delivery: Delivery) -> Breach:
    return Breach(Rule.AVAILABLE, delivery.name, f"the answer is {delivery.status}")


def _media_type(delivery: Delivery) -> str:
    return delivery.content_type.partition(";")[0].strip().lower()


def _transport(delivery: Delivery) -> Iterator[Breach]:
    if delivery.scheme != "https" and not delivery.host.startswith(_LOOPBACK):
        yield Breach(Rule.TLS, delivery.name, f"this comes over {delivery.scheme}")
