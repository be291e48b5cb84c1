"""The command line: parse, load settings, run one command, and turn every foreseen error into one clear line.

Owns: names and options of commands. Must not know: how the parts are wired (`composition.py`).
A start is mostly imports, so each command imports its own parts.
Commands that load much import it themselves: `run` would otherwise start a second later.
"""

import argparse
import asyncio
import math
import os
import sys
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from playhead.app.databases import logins, revealed, service_login
from playhead.app.development import add_options, run_development
from playhead.app.errors import CommandFailed
from playhead.app.processes.place import Place
from playhead.auth.tokens import issue
from playhead.db import DatabaseUnavailable, LoginError, MigrationError, ensure_logins, migrate
from playhead.runtime.logging import configure
from playhead.runtime.settings import Settings, SettingsError, load
from playhead.sessions.keys import dead_letter_id
from playhead.sessions.single_node import LeaseRefused
from playhead.sessions.store import StoreUnavailable
from playhead.storage import StorageFailed

SERVER_SETTINGS = ("redis_url", "jwt_key", "media_keys")
GRACE_HOURS = 24.0
GRACE_HOURS_MIN = 1.0
"""An upload is stored some time before its row is written."""
TOKEN_HOURS = 12.0
TOKEN_HOURS_MAX = 10 * 366 * 24.0
SEGMENTS_CHECKED = 12
SEGMENTS_CHECKED_MIN = 2
LETTERS_SHOWN = 100
LETTERS_SHOWN_MAX = 1_000_000

FORESEEN = (
    SettingsError,
    CommandFailed,
    DatabaseUnavailable,
    StoreUnavailable,
    LeaseRefused,
    StorageFailed,
    LoginError,
    MigrationError,
)
"""What can be wrong with the input, the settings or the machine: told in a sentence, without a traceback."""


def run(arguments: Sequence[str]) -> int:
    """Carries out one command line and answers the exit code: 0 done, 1 failed, 2 wrong usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except FORESEEN as error:
        print(f"playhead: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="playhead", description="One playhead, every device.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, function: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=function)
        return command

    serving = add("serve", _serve, "Serve REST, sockets, media and the player page.")
    serving.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="server processes on one port; 0: one a core (default: PLAYHEAD_PROCESSES, or 1)",
    )
    add("flush", _flush, "Take what the servers have acknowledged from the journal to PostgreSQL.")
    _add_letter_options(add("dead-letters", _dead_letters, "Look into what PostgreSQL has refused of the journal."))
    add("worker", _worker, "Turn uploads into HLS.")
    migrating = add("migrate", _migrate, "Bring the database up to date and make the logins that processes use.")
    migrating.add_argument("--reset-logins", action="store_true", help="give the logins new passwords")
    ingesting = add("ingest", _ingest, "Take in an audio file, as an upload would.")
    ingesting.add_argument("file", type=Path, metavar="FILE")
    ingesting.add_argument("--title", help="default: what the file says, else its name")
    ingesting.add_argument("--owner", type=uuid.UUID, default=uuid.UUID(int=0), help="listener who owns it (UUID)")
    ingesting.add_argument("--script-id", type=uuid.UUID, help="default: a new one, or that of the same file")
    ingesting.add_argument("--visibility", choices=("private", "listeners"), default="listeners")
    _add_garbage_options(add("gc", _gc, "Remove from the storage what no script needs, as the worker does every hour."))
    revoking = add("revoke", _revoke, "End a session and void its media addresses, or void those of a script.")
    what = revoking.add_mutually_exclusive_group(required=True)
    what.add_argument("session", type=uuid.UUID, nargs="?", metavar="SESSION_ID", help="whoever's it is")
    what.add_argument("--script", type=uuid.UUID, metavar="SCRIPT_ID", help="every address of it given out until now")
    token = add("token", _token, "Print a token for a listener (HS… keys only).")
    token.add_argument("--listener", type=uuid.UUID, required=True, help="the listener's id (UUID)")
    token.add_argument("--hours", type=_hours, default=TOKEN_HOURS, help=f"valid for so long (default {TOKEN_HOURS:g})")
    token.add_argument("--scope", action="append", default=[], help="such as scripts:write; may be given several times")
    checking = add("check-hls", _check_hls, "Check a stream against the rules of HLS authoring; 1 when one is broken.")
    checking.add_argument("url", metavar="URL", help="of the multivariant playlist, as GET /stream answers it")
    looked_at = checking.add_mutually_exclusive_group()
    looked_at.add_argument(
        "--segments",
        type=_segments,
        default=SEGMENTS_CHECKED,
        metavar="N",
        help=f"of each variant ({SEGMENTS_CHECKED})",
    )
    looked_at.add_argument("--all", action="store_const", dest="segments", const=None, help="all segments")
    config = add("config", _config, "Print the effective settings, without secrets.")
    config.add_argument("--markdown", action="store_true", help="print the reference of all settings instead")
    developing = add(
        "run", _run, "Run everything on this machine: servers, flusher, worker, a sample script, the player page."
    )
    add_options(developing)
    return parser


def _add_garbage_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="show what would be removed, and leave it")
    parser.add_argument(
        "--even-if-most", action="store_true", help="also where fewer than half of the storage's scripts have a row"
    )
    parser.add_argument(
        "--older-than-hours", type=_grace, default=GRACE_HOURS, help=f"and is older than that (default {GRACE_HOURS:g})"
    )


def _add_letter_options(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    listing = actions.add_parser("list", help="show them, one a line: its name, when, what it is of, and why")
    listing.add_argument("--limit", type=_limit, default=LETTERS_SHOWN, help=f"at most so many ({LETTERS_SHOWN})")
    for name, text in (("retry", "put them back into the journal"), ("drop", "delete them")):
        action = actions.add_parser(name, help=text)
        which = action.add_mutually_exclusive_group(required=True)
        which.add_argument("names", type=_letter_name, nargs="*", default=[], metavar="NAME", help="as `list` shows it")
        which.add_argument("--all", action="store_true", help="all that are there now")


def _letter_name(text: str) -> str:
    try:
        dead_letter_id(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _limit(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= LETTERS_SHOWN_MAX:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to {LETTERS_SHOWN_MAX}, not {text}")
    return int(text)


def _segments(text: str) -> int:
    if not text.isdecimal() or int(text) < SEGMENTS_CHECKED_MIN:
        raise argparse.ArgumentTypeError(f"must be a number from {SEGMENTS_CHECKED_MIN} on, not {text}")
    return int(text)


def _hours(text: str) -> float:
    """How long a token may be valid. argparse tells what is wrong with it."""
    try:
        hours = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of hours") from None
    if not 0 < hours <= TOKEN_HOURS_MAX:  # nan is not, either
        raise argparse.ArgumentTypeError(f"must be more than 0 and at most {TOKEN_HOURS_MAX:g} hours, not {text}")
    return hours


def _grace(text: str) -> float:
    hours = _hours(text)
    if hours < GRACE_HOURS_MIN:
        raise argparse.ArgumentTypeError(f"must be at least {GRACE_HOURS_MIN:g}, as uploads take their time")
    return hours


def _async(settings: Settings, main: Coroutine[Any, Any, int], process: str | None = None) -> int:
    configure(settings.log_level, settings.log_format, process)
    return asyncio.run(main)


def _connected(
    required: Sequence[str] = (), database: Callable[[Settings], object] = logins, **overrides: object
) -> Settings:
    """The settings of a process that needs the database too, by its own way; all that is missing is told at once."""
    told = []
    try:
        settings = load(required, **overrides)
    except SettingsError as error:
        told.append(str(error))
        settings = load()
    try:
        database(settings)
    except SettingsError as error:
        told.append(str(error))
    if told:
        raise SettingsError("\n".join(told))
    return settings


def _serve(options: argparse.Namespace) -> int:
    given = {} if options.processes is None else {"processes": options.processes}
    settings = _connected(SERVER_SETTINGS, **given)
    place = Place.from_environment(os.environ)
    if place is None and settings.processes > 1:
        from playhead.app.processes.supervisor import supervise

        return _async(settings, supervise(settings), process="supervisor")
    from playhead.app.serving import serve

    return _async(settings, serve(settings, place), process=None if place is None else str(place.slot))


def _flush(_options: argparse.Namespace) -> int:
    from playhead.app.flushing import flush

    settings = _connected(("redis_url",), service_login)
    if settings.store == "memory":
        raise CommandFailed("With PLAYHEAD_STORE=memory the server stores all by itself: there is nothing to flush.")
    return _async(settings, flush(settings))


def _dead_letters(options: argparse.Namespace) -> int:
    from playhead.app.dead_letters import dead_letters

    settings = load(required=("redis_url",))
    if settings.store == "memory":
        raise CommandFailed(
            "With PLAYHEAD_STORE=memory what PostgreSQL refuses is not acknowledged: nothing is left over."
        )
    return _async(settings, dead_letters(settings, options))


def _worker(_options: argparse.Namespace) -> int:
    from playhead.app.working import work

    settings = _connected()
    return _async(settings, work(settings))


def _migrate(options: argparse.Namespace) -> int:
    settings = load(required=("database_url",))
    return _async(settings, _migrated(settings, options.reset_logins))


async def _migrated(settings: Settings, reset_logins: bool) -> int:
    assert settings.database_url is not None
    owner_url = settings.database_url.get_secret_value()
    applied = await migrate(owner_url)
    await ensure_logins(
        owner_url,
        settings.data_dir,
        app_url=revealed(settings.database_app_url),
        service_url=revealed(settings.database_service_url),
        reset=reset_logins,
    )
    print(f"Applied {len(applied)} migrations; the database is up to date.")
    if reset_logins:
        print(f"The logins have new passwords, in {settings.data_dir}: restart all processes that use them.")
    return 0


def _ingest(options: argparse.Namespace) -> int:
    from playhead.app.development.backing import beside_run
    from playhead.app.ingesting import LocalFile, ingest_file

    if not options.file.is_file():
        raise CommandFailed(f"There is no file {options.file}.")
    settings = beside_run(load())
    logins(settings)
    file = LocalFile(
        path=options.file,
        title=options.title,
        owner_id=str(options.owner),
        script_id=str(options.script_id) if options.script_id else None,
        visibility=options.visibility,
    )
    return _async(settings, ingest_file(settings, file))


def _gc(options: argparse.Namespace) -> int:
    from playhead.app.collecting import collect
    from playhead.app.development.backing import beside_run

    settings = beside_run(load())
    logins(settings)
    collecting = collect(
        settings,
        grace_s=options.older_than_hours * 3_600,
        dry_run=options.dry_run,
        even_if_most=options.even_if_most,
    )
    return _async(settings, collecting)


def _revoke(options: argparse.Namespace) -> int:
    from playhead.app.revoking import revoke_script, revoke_session

    settings = _connected(("redis_url",))
    if settings.store == "memory":
        raise CommandFailed(
            "With PLAYHEAD_STORE=memory sessions are in the server's memory alone: end one with DELETE "
            "/api/v1/audio/session/{session_id} and a token of its listener (`playhead token`)."
        )
    if options.script is not None:
        return _async(settings, revoke_script(settings, str(options.script)))
    return _async(settings, revoke_session(settings, str(options.session)))


def _token(options: argparse.Namespace) -> int:
    settings = load(required=("jwt_key",))
    assert settings.jwt_key is not None
    algorithm = settings.jwt_algorithms[0]
    if not algorithm.startswith("HS"):
        raise CommandFailed(f"Tokens signed with {algorithm} come from whoever holds the private key.")
    token = issue(
        settings.jwt_key.get_secret_value(),
        listener_id=str(options.listener),
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
        expires_at_s=math.ceil(time.time() + options.hours * 3600),
        scopes=options.scope,
        algorithm=algorithm,
    )
    print(token)
    return 0


def _check_hls(options: argparse.Namespace) -> int:
    from playhead.app.hls_check import check_hls

    return asyncio.run(check_hls(options.url, options.segments))


def _config(options: argparse.Namespace) -> int:
    from playhead.app.documentation import settings_markdown, settings_text

    print(settings_markdown() if options.markdown else settings_text(load()))
    return 0


def _run(options: argparse.Namespace) -> int:
    return asyncio.run(run_development(options))
