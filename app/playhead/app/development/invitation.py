"""Tokens and links with which two devices of one listener open the player page.

Owns: who listens in development, and the form of the links. The page reads `#token=…&device=…&script=…` and takes it
out of the address bar at once; a fragment is never sent to a server, so the token is in no access log.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from playhead.app.development.keys import DevelopmentKeys
from playhead.app.development.plan import Address
from playhead.auth.tokens import UPLOAD_SCOPE, issue
from playhead.runtime.settings import Settings

LISTENER_ID = "6c697374-656e-4572-8000-000000000001"
DEVICES = ("Phone", "Desk")
TOKEN_LIFETIME_S = 30 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """One device's way in."""

    device: str
    token: str = field(repr=False)
    link: str = field(repr=False)


def listener_token(settings: Settings, keys: DevelopmentKeys) -> str | None:
    """A token of the development listener, who may also upload for everyone; None where others sign the tokens."""
    algorithm = settings.jwt_algorithms[0]
    if not algorithm.startswith("HS"):
        return None
    key = settings.jwt_key.get_secret_value() if settings.jwt_key else keys.jwt_key
    return issue(
        key,
        listener_id=LISTENER_ID,
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
        expires_at_s=int(time.time()) + TOKEN_LIFETIME_S,
        scopes=[UPLOAD_SCOPE],
        algorithm=algorithm,
    )


def invitations(token: str, places: Sequence[Address], script_id: str | None) -> list[Invitation]:
    """A link per device; with several servers the devices are spread over them."""
    return [
        Invitation(device=device, token=token, link=_link(places[number % len(places)], token, device, script_id))
        for number, device in enumerate(DEVICES)
    ]


def _link(place: Address, token: str, device: str, script_id: str | None) -> str:
    fields = {"token": token, "device": device} | ({"script": script_id} if script_id else {})
    return f"{place.public_url}/#{urlencode(fields)}"
