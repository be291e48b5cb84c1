"""The two logins that processes use: `playhead_app`, bound by row level security, and `playhead_service`.

| login            | member of           | inherits | may                                                       |
| ---------------- | ------------------- | -------- | --------------------------------------------------------- |
| playhead_app     | anon, authenticated | no       | by itself nothing; after `set local role` what a listener may |
| playhead_service | service_role        | yes      | write sessions, scripts' status, jobs                     |

`ensure_logins` makes them with passwords of our own making, which are kept in `logins.json` in the data folder (0600).
The server is told SCRAM verifiers, never a password. Logins belong to the whole server, not to one database.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode

import asyncpg

from playhead.db.errors import translated
from playhead.db.hosts import connect
from playhead.db.limits import OWNER_CONNECT_TIMEOUT_S
from playhead.db.migrate import Connection, exclusive, owner_connection
from playhead.runtime.url_parts import split_url

APP_LOGIN = "playhead_app"
SERVICE_LOGIN = "playhead_service"
LOGINS_FILE = "logins.json"
PASSWORD_BYTES = 32
SCRAM_ITERATIONS = 4_096
"""What PostgreSQL takes by default; the passwords are 256 random bits, so more would only slow logins down."""
SCRAM_SALT_BYTES = 16


class LoginError(Exception):
    """A login cannot be made or used. The message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logins:
    """The URLs of the two logins. They hold passwords, so they are not in the `repr`."""

    app_url: str = field(repr=False)
    service_url: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Role:
    name: str
    inherits: bool
    member_of: tuple[str, ...]


_APP = _Role(name=APP_LOGIN, inherits=False, member_of=("anon", "authenticated"))
_SERVICE = _Role(name=SERVICE_LOGIN, inherits=True, member_of=("service_role",))


async def ensure_logins(
    owner_url: str,
    data_dir: Path,
    *,
    app_url: str | None = None,
    service_url: str | None = None,
    reset: bool = False,
    adopt: bool = False,
) -> Logins:
    """Makes the logins where they are missing, and answers URLs that were tried. Run it after `migrate`.

    A URL that is given is taken as it is, and that login is left alone. A login that exists with another password is
    refused, for another machine may live on it, unless `reset` is set, which gives each of them a new password, or
    `adopt`, which gives them those of the data folder. Raises LoginError or DatabaseUnavailable.
    """
    given = {APP_LOGIN: app_url, SERVICE_LOGIN: service_url}
    wanted = [role for role in (_APP, _SERVICE) if given[role.name] is None]
    passwords: dict[str, str] = {}
    if wanted:
        async with owner_connection(owner_url) as owner, exclusive(owner):
            with _passwords(data_dir, renewed=wanted if reset else ()) as passwords:
                async with _all_or_none(owner):
                    for role in wanted:
                        await _ensure_role(owner, role, passwords[role.name], reset or adopt)
            for role in wanted:
                await _try_login(login_url(owner_url, role.name, passwords[role.name]), role.name)
    return _logins(owner_url, passwords, given)


def stored_logins(
    owner_url: str, data_dir: Path, *, app_url: str | None = None, service_url: str | None = None
) -> Logins:
    """The URLs of logins that `ensure_logins` made before with the same data folder; asks no server."""
    given = {APP_LOGIN: app_url, SERVICE_LOGIN: service_url}
    passwords = {} if app_url and service_url else _read_passwords(data_dir / LOGINS_FILE)
    if passwords is None:
        raise LoginError(f"There is no {LOGINS_FILE} in {data_dir}. Run `playhead migrate`, or set both logins' URLs.")
    return _logins(owner_url, passwords, given)


def _logins(owner_url: str, passwords: Mapping[str, str], given: Mapping[str, str | None]) -> Logins:
    def url(name: str) -> str:
        return given[name] or login_url(owner_url, name, passwords[name])

    return Logins(app_url=url(APP_LOGIN), service_url=url(SERVICE_LOGIN))


def login_url(owner_url: str, name: str, password: str) -> str:
    """`owner_url` with another login: the same host or socket, database and options."""
    parts = split_url(owner_url)
    options = [(key, value) for key, value in parse_qsl(parts.query) if key not in ("user", "password", "passfile")]
    login = f"{name}:{quote(password, safe='')}"
    return replace(parts, login=login, query=urlencode(options, safe="/,"), fragment="").url


def scram_verifier(password: str, salt: bytes) -> str:
    """What PostgreSQL stores of an ASCII password (RFC 5803): it proves a login, and the password is not in it."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, SCRAM_ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", hashlib.sha256)).digest()
    server_key = hmac.digest(salted, b"Server Key", hashlib.sha256)
    encoded_salt, encoded_stored, encoded_server = (
        base64.b64encode(part).decode() for part in (salt, stored_key, server_key)
    )
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{encoded_salt}${encoded_stored}:{encoded_server}"


def _new_passwords(roles: Iterable[_Role]) -> dict[str, str]:
    return {role.name: secrets.token_urlsafe(PASSWORD_BYTES) for role in roles}


@contextmanager
def _passwords(data_dir: Path, renewed: Iterable[_Role]) -> Iterator[dict[str, str]]:
    """The passwords by login for the body, which tells them to the server; made where there are none.

    Those of `renewed` are new, and take the place of the old ones in the file when the body has ended: they lie on the
    disk before it begins, so it is not for want of room that nobody knows them. Where a crash comes between, the logins
    are to be reset once more; the owner's login does that. Called under the lock, so nobody else makes them.
    """
    path = data_dir / LOGINS_FILE
    stored = _read_passwords(path)
    if stored is None:
        made = _new_passwords((_APP, _SERVICE))
        _put_in_place(_drafted(made, data_dir), path)
        yield made
        return
    changed = stored | _new_passwords(renewed)
    if changed == stored:
        yield stored
        return
    draft = _drafted(changed, data_dir)
    try:
        yield changed
        _put_in_place(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _drafted(passwords: Mapping[str, str], data_dir: Path) -> Path:
    """A file beside the one of the passwords that holds these, safely on the disk."""
    with _failures_told(data_dir):
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=LOGINS_FILE, dir=data_dir)  # 0600
        with os.fdopen(handle, "w") as file:
            json.dump(passwords, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        return Path(draft)


def _put_in_place(draft: Path, path: Path) -> None:
    with _failures_told(path.parent):
        os.replace(draft, path)


@contextmanager
def _failures_told(data_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LoginError(f"The logins' passwords cannot be stored in {data_dir}: {error.strerror}.") from error


def _read_passwords(path: Path) -> dict[str, str] | None:
    """The passwords by login; None where there is no file. Closes the file to others if it stands open."""
    try:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        passwords = json.loads(path.read_text())
        return {role.name: str(passwords[role.name]) for role in (_APP, _SERVICE)}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LoginError(f"The logins' passwords in {path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError):
        raise LoginError(f"{path} is damaged. Remove it and run `playhead migrate --reset-logins`.") from None


@asynccontextmanager
async def _all_or_none(owner: Connection) -> AsyncIterator[None]:
    with translated():
        async with owner.transaction():
            yield


async def _ensure_role(owner: Connection, role: _Role, password: str, reset: bool) -> None:
    verifier = scram_verifier(password, secrets.token_bytes(SCRAM_SALT_BYTES))
    with translated():
        if not await owner.fetchval("select exists (select from pg_roles where rolname = $1)", role.name):
            inherits = "inherit" if role.inherits else "noinherit"
            await owner.execute(f"create role {role.name} login {inherits} password '{verifier}'")
            # acknowledged is stored, whatever the server's default is
            await owner.execute(f"alter role {role.name} set synchronous_commit = on")
        elif reset:
            await owner.execute(f"alter role {role.name} password '{verifier}'")
        for group in role.member_of:
            if not await owner.fetchval("select pg_has_role($1::name, $2::name, 'member')", role.name, group):
                await owner.execute(f"grant {group} to {role.name}")
        await _refuse_too_powerful(owner, role.name)


async def _refuse_too_powerful(owner: Connection, name: str) -> None:
    """A login that row level security does not bind would show every listener everything."""
    bypasses = await owner.fetchval(
        """
        select rolsuper or rolbypassrls or rolname = $2 and pg_has_role(rolname, 'service_role', 'member')
        from pg_roles where rolname = $1
        """,
        name,
        APP_LOGIN,
    )
    if bypasses:
        raise LoginError(
            f"The login {name} could go round row level security. Take superuser, bypassrls and, from {APP_LOGIN}, "
            "membership in service_role away from it."
        )


async def _try_login(url: str, name: str) -> None:
    with translated():
        try:
            connection = await connect(url, timeout=OWNER_CONNECT_TIMEOUT_S)
        except asyncpg.InvalidAuthorizationSpecificationError as error:
            raise LoginError(
                f"PostgreSQL refuses the login {name} ({error}). If it was made from another data folder, copy that "
                f"folder's {LOGINS_FILE} here, or set PLAYHEAD_DATABASE_APP_URL and PLAYHEAD_DATABASE_SERVICE_URL; "
                "`playhead migrate --reset-logins` gives it a new password, which shuts the other machine out."
            ) from error
        await connection.close()
