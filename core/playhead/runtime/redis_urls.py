"""How people write where the state store is: one server, sentinels that know which server is the primary, or a cluster.

    redis://   rediss://   unix://                                       one server, as redis-py reads it
    redis+sentinel://[user:password@]host[:port],host[:port]/service[/db]   sentinels; `rediss+sentinel://` with TLS
    redis+cluster://[user:password@]host[:port],host[:port]              some servers of a cluster; `rediss+cluster://`

User and password are the servers'; those of the sentinels are `?sentinel_username=…&sentinel_password=…`. All other
options behind the `?` are redis-py's, for the servers. Errors never repeat the URL, which holds a password.
"""

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from playhead.runtime.url_parts import split_url

SERVER_PORT = 6379
SENTINEL_PORT = 26379
HOSTS_MAX = 16
SENTINEL_SCHEMES = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
CLUSTER_SCHEMES = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
SERVER_SCHEMES = ("redis", "rediss", "unix")
SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")

Address = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentinelUrl:
    """`server_url`: login, database, TLS and options of the servers, as redis-py reads them; its host says nothing."""

    sentinels: tuple[Address, ...]
    service: str
    server_url: str
    username: str | None
    password: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterUrl:
    """`nodes`: some of them; they tell of the others. Login and options are the same for all."""

    nodes: tuple[Address, ...]
    scheme: str
    login: str
    options: str

    def node_url(self, node: Address) -> str:
        """One server of it, as redis-py reads it."""
        host, port = node
        host = f"[{host}]" if ":" in host else host
        return f"{self.scheme}://{self.login and f'{self.login}@'}{host}:{port}{self.options and f'?{self.options}'}"


def cluster_url(url: str) -> ClusterUrl | None:
    """The parts of such a URL; None for any other. Raises ValueError."""
    parts = split_url(url)
    if parts.scheme not in CLUSTER_SCHEMES:
        return None
    if parts.path.strip("/") not in ("", "0"):
        raise ValueError("must name no database other than 0, as a cluster has no other")
    return ClusterUrl(
        nodes=addresses(parts.hosts, SERVER_PORT),
        scheme=CLUSTER_SCHEMES[parts.scheme],
        login=parts.login,
        options=parts.query,
    )


def check_url(url: str) -> None:
    """Raises ValueError that says what is wrong with it."""
    scheme = url.partition("://")[0]
    if scheme in SENTINEL_SCHEMES:
        sentinel_url(url)
    elif scheme in CLUSTER_SCHEMES:
        cluster_url(url)
    elif scheme not in SERVER_SCHEMES or "://" not in url:
        known = ", ".join(f"{each}://" for each in (*SERVER_SCHEMES, *SENTINEL_SCHEMES, *CLUSTER_SCHEMES))
        raise ValueError(f"must begin with one of {known}")
    else:
        _check_port(url)


def sentinel_url(url: str) -> SentinelUrl | None:
    """The parts of such a URL; None for one that leads to a server itself. Raises ValueError."""
    parts = split_url(url)
    if parts.scheme not in SENTINEL_SCHEMES:
        return None
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError("must name the service behind the sentinels, as in redis+sentinel://host:26379/playhead")
    if not database.isdigit() and database:
        raise ValueError("must have the database's number, or nothing, behind the service")
    options = parse_qsl(parts.query)
    of_sentinels = {name: value for name, value in options if name in SENTINEL_OPTIONS}
    of_servers = urlencode([(name, value) for name, value in options if name not in SENTINEL_OPTIONS])
    login = parts.login and f"{parts.login}@"
    server = f"{SENTINEL_SCHEMES[parts.scheme]}://{login}localhost/{database or 0}"
    return SentinelUrl(
        sentinels=addresses(parts.hosts, SENTINEL_PORT),
        service=unquote(service),
        server_url=f"{server}{of_servers and f'?{of_servers}'}",
        username=of_sentinels.get("sentinel_username"),
        password=of_sentinels.get("sentinel_password"),
    )


def _check_port(url: str) -> None:
    try:
        _ = urlsplit(url).port
    except ValueError:
        escaped = "%23 for #, %2F for /, %3F for ?"
        raise ValueError(f"must have a number from 1 to 65535 as port, and escapes in a login: {escaped}") from None


def addresses(hosts: str, port: int) -> tuple[Address, ...]:
    """Of `host[:port],host[:port]`; an IPv6 address stands in brackets. Raises ValueError."""
    found = []
    for text in hosts.split(","):
        try:
            parts = urlsplit(f"//{text}")
        except ValueError:
            raise ValueError("must have an IPv6 address in brackets, with nothing but a port behind it") from None
        try:
            own_port = parts.port
        except ValueError:
            raise ValueError("must have a number between 1 and 65535 as each port") from None
        if not parts.hostname:
            raise ValueError("must name a host, or several with a comma between them")
        found.append((parts.hostname, own_port or port))
    if len(found) > HOSTS_MAX:
        raise ValueError(f"must name {HOSTS_MAX} hosts at most")
    return tuple(found)
