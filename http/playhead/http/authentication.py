"""Who asks: a bearer token in the `Authorization` header (RFC 6750 section 2.1), and nowhere else.

Never in the query: addresses end up in logs, histories and referrers.
"""

from aiohttp import hdrs, web

from playhead.auth.tokens import InvalidToken, Principal, TokenVerifier
from playhead.http.problems import Problem, problem
from playhead.playback.rejections import Code

SCHEME = "bearer"


def authenticate(request: web.Request, verifier: TokenVerifier) -> Principal | Problem:
    """The verified listener, or the 401 that every missing, malformed, expired or foreign token gets."""
    given = request.headers.getall(hdrs.AUTHORIZATION, [])
    if len(given) != 1:
        return problem(Code.UNAUTHORIZED, "Send one `Authorization: Bearer <token>` header.")
    scheme, _, token = given[0].partition(" ")
    if scheme.lower() != SCHEME:
        return problem(Code.UNAUTHORIZED, "Send the token as `Authorization: Bearer <token>`.")
    try:
        return verifier.verify(token.strip())
    except InvalidToken as error:
        return problem(Code.UNAUTHORIZED, str(error))
