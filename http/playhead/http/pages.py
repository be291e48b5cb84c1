"""What people see: the player page and its files, pages about the API. Each with a strict content policy."""

import base64
import hashlib
import html
import re
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from playhead.http.problems import problem, respond
from playhead.http.services import SERVICES
from playhead.playback.rejections import Code

INDEX = "index.html"
FOR_EVER = "public, max-age=31536000, immutable"
ASK_EACH_TIME = "no-cache"
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { line-height: 1.1; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #8885; }
h3 { margin: 1.75rem 0 .25rem; font-size: 1rem; } h3 code { font-size: 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9rem; }
pre { padding: .75rem; overflow-x: auto; background: #8881; border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8883; }
:target { outline: 2px solid Highlight; outline-offset: 4px; }
.method { font-weight: 700; }
"""


def page_text(title: str, body: str) -> str:
    """A page without scripts, to be sent with PAGE_POLICY. `body` is HTML."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body>{body}</body></html>"
    )


STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
PAGE_POLICY = (
    f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""For pages without scripts; their one style is named by its hash."""


def player_policy(media_base_url: str) -> str:
    """For the player page: hls.js runs a worker from a blob and hands media over in blobs."""
    media = _source(media_base_url)
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            f"connect-src 'self' {media}",
            f"media-src 'self' blob: {media}",
            "worker-src 'self' blob:",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )


def _source(base_url: str) -> str:
    """As a policy names all below a URL: a path without a slash at its end would be that very one (CSP 3, 6.7.2.10)."""
    return f"{base_url}/" if urlsplit(base_url).path else base_url


def respond_page(title: str, body: str, status: int = 200) -> web.Response:
    """A page without scripts. `body` is HTML."""
    headers = {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": ASK_EACH_TIME}
    return web.Response(text=page_text(title, body), content_type="text/html", status=status, headers=headers)


async def index(request: web.Request) -> web.StreamResponse:
    """The player page; how to build it, where it is not built."""
    services = request.app[SERVICES]
    path = services.player_dir / INDEX if services.player_dir is not None else None
    if path is None or not path.is_file():
        text = (
            "<h1>The player page is not built</h1><p>Run <code>python3 dev.py run</code>, which builds it, or "
            "<code>npm ci &amp;&amp; npm run build</code> in <code>player/</code>, and set "
            '<code>PLAYHEAD_PLAYER_DIR</code> to <code>player/dist</code>.</p><p>The API works: see <a href="/docs">'
            "/docs</a>.</p>"
        )
        return respond_page("playhead", text, status=503)
    policy = player_policy(services.media_base_url)
    return web.FileResponse(path, headers={"Content-Security-Policy": policy, "Cache-Control": ASK_EACH_TIME})


async def player_file(request: web.Request) -> web.StreamResponse:
    """A file of the built page. Their names carry a hash of what is in them, so they are kept for ever."""
    name, folder = request.match_info["name"], request.app[SERVICES].player_dir
    path = _file_below(folder, name) if folder is not None else None
    if path is None:
        return respond(problem(Code.NOT_FOUND))
    return web.FileResponse(path, headers={"Cache-Control": FOR_EVER if "-" in name else ASK_EACH_TIME})


def _file_below(folder: Path, name: str) -> Path | None:
    """The file called `name` lying directly in `folder`, followed nowhere else."""
    if not _FILE_NAME.fullmatch(name) or name == INDEX:
        return None
    path = folder / name
    return path if path.is_file() and not path.is_symlink() else None
