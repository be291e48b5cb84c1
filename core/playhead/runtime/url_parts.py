"""A URL whose authority may name several hosts, in its parts: `scheme://login@host:port,host:port/path?query#fragment`.

`urllib.parse.urlsplit` takes no such list with an IPv6 address in it, since CVE-2025-0938 was mended.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlParts:
    """As they stand in the URL, escapes and all. `path` with its slash; what is not there is empty."""

    scheme: str
    login: str
    hosts: str
    path: str
    query: str
    fragment: str

    @property
    def url(self) -> str:
        login = self.login and f"{self.login}@"
        query, fragment = self.query and f"?{self.query}", self.fragment and f"#{self.fragment}"
        return f"{self.scheme}://{login}{self.hosts}{self.path}{query}{fragment}"


def split_url(url: str) -> UrlParts:
    """Checks nothing."""
    before, _, fragment = url.partition("#")
    before, _, query = before.partition("?")
    scheme, _, before = before.partition("://")
    authority, slash, path = before.partition("/")
    login, _, hosts = authority.rpartition("@")
    return UrlParts(scheme=scheme.lower(), login=login, hosts=hosts, path=slash + path, query=query, fragment=fragment)
