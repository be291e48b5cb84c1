"""What can be wrong with a URL of PostgreSQL before anybody connects: told in a sentence that quotes nothing of it."""

from urllib.parse import parse_qsl, unquote, urlsplit

from playhead.runtime.url_parts import UrlParts, split_url

SCHEMES = ("postgresql://", "postgres://")
PORT_MAX = 65_535
CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "primary", "standby", "prefer-standby", "read-write", "read-only"),
}
ESCAPED = "and escapes in a login: %23 for #, %2F for /, %3A for :, %3F for ?, %40 for @"


def check_url(url: str) -> None:
    """Raises ValueError that says what is wrong with it."""
    if not url.startswith(SCHEMES):
        raise ValueError(f"must begin with {' or '.join(SCHEMES)}")
    parts = split_url(url)
    if parts.fragment or "@" in parts.login:
        raise ValueError(f"must have one @, before the hosts, {ESCAPED}")
    options = dict(parse_qsl(parts.query))
    _check_hosts(parts, options)
    for name, choices in CHOICES.items():
        if options.get(name, choices[0]) not in choices:
            raise ValueError(f"must have one of {', '.join(choices)} as {name}")


def _check_hosts(parts: UrlParts, options: dict[str, str]) -> None:
    try:
        hosts = [urlsplit(f"//{text}") for text in parts.hosts.split(",")]
    except ValueError:
        raise ValueError("must have an IPv6 address between brackets, as in [::1]:5432") from None
    try:
        ports = [host.port for host in hosts] + [int(port) for port in options.get("port", "").split(",") if port]
    except ValueError:
        ports = [0]
    if not all(port is None or 0 < port <= PORT_MAX for port in ports):
        raise ValueError(f"must have a number from 1 to {PORT_MAX} as each port, {ESCAPED}")
    for host in hosts:
        try:
            unquote(host.hostname or "").encode("idna")
        except UnicodeError:
            raise ValueError("must have hosts whose names can be looked up") from None
