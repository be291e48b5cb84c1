"""The table of routes: each method and path, what it takes, who answers it, what it can answer.

OpenAPI, docs/rest.md, the metrics' labels and the tests that run over every route are made from it.
"""

from typing import Any

from playhead.http import bookmarks, playing, scripts
from playhead.http.answers import (
    BookmarkAnswer,
    BookmarksAnswer,
    HealthAnswer,
    PlayAnswer,
    PrepareAnswer,
    ProgressAnswer,
    ReadyAnswer,
    ScriptAnswer,
    ScriptsAnswer,
    SessionAnswer,
    StateAnswer,
    StreamAnswer,
    SummaryAnswer,
)
from playhead.http.bodies import (
    BookmarkBody,
    BookmarkChangeBody,
    BookmarkPath,
    EndFields,
    LoopBody,
    PageFields,
    PauseBody,
    PlayBody,
    PrepareFields,
    ProgressBody,
    RateBody,
    ScriptPageFields,
    ScriptPath,
    SeekBody,
    SessionPath,
    StreamFields,
    TransferBody,
    UploadFields,
)
from playhead.http.listening_routes import LISTENING
from playhead.http.media_facts import FACTS_TYPE, MediaFacts
from playhead.http.origin import PLAYLIST_TYPE, SEGMENT_TYPE, serve_media
from playhead.http.problems import AnyCode, HttpCode
from playhead.http.readiness import healthz, readyz
from playhead.http.refusals import BODY, COMMAND
from playhead.http.revoked import REVOKED
from playhead.http.route import API, GUARDED, Good, Route, api, guarded
from playhead.http.script_details import COVER, ScriptDetailsAnswer, script
from playhead.http.upload_bodies import FILE_FIELD, FORM_TYPE
from playhead.http.upload_routes import PARTS
from playhead.http.uploads import upload
from playhead.playback.rejections import Code

_STATE = (Good(200, "The state after it, which every device sees.", StateAnswer),)
_SCRIPT: tuple[AnyCode, ...] = (Code.NOT_FOUND, Code.SCRIPT_FAILED)


_PLAYBACK = (
    api(
        "POST",
        "/play",
        "play",
        playing.play,
        fields=PlayBody,
        tag="playback",
        summary="Play a script, or resume it: the live session is joined, else one begins where the last one stopped.",
        good=(
            Good(201, "A new session.", PlayAnswer),
            Good(200, "The live session, joined.", PlayAnswer),
        ),
        refusals=(*COMMAND, Code.SCRIPT_NOT_READY, Code.SCRIPT_FAILED, Code.DEVICE_NOT_CONNECTED),
        command=True,
    ),
    api(
        "PUT",
        "/progress",
        "progress",
        playing.progress,
        fields=ProgressBody,
        tag="playback",
        summary="Report where the sound is. Refused with both places where that cannot be so.",
        good=(Good(200, "The report was taken.", ProgressAnswer),),
        refusals=COMMAND,
        command=True,
    ),
    api(
        "POST",
        "/pause",
        "pause",
        playing.steer,
        fields=PauseBody,
        tag="playback",
        summary="Stop the sound, at `position` if that was heard.",
        good=_STATE,
        refusals=COMMAND,
        command=True,
    ),
    api(
        "POST",
        "/seek",
        "seek",
        playing.steer,
        fields=SeekBody,
        tag="playback",
        summary="Move the playhead.",
        good=_STATE,
        refusals=COMMAND,
        command=True,
    ),
    api(
        "POST",
        "/loop",
        "loop",
        playing.steer,
        fields=LoopBody,
        tag="playback",
        summary="Set an A-B loop, switched on or off.",
        good=_STATE,
        refusals=(*COMMAND, Code.LOOP_TOO_SHORT),
        command=True,
    ),
    api(
        "POST",
        "/rate",
        "rate",
        playing.steer,
        fields=RateBody,
        tag="playback",
        summary="Set the speed of playback, 0.25 to 4.",
        good=_STATE,
        refusals=COMMAND,
        command=True,
    ),
    api(
        "POST",
        "/transfer",
        "transfer",
        playing.transfer,
        fields=TransferBody,
        tag="playback",
        summary="Move the sound to another connected device; place, rate and loop stay.",
        good=_STATE,
        refusals=(*COMMAND, Code.DEVICE_NOT_CONNECTED),
        command=True,
    ),
    api(
        "GET",
        "/session/{session_id}",
        "session",
        playing.session,
        fields=SessionPath,
        tag="playback",
        summary="A session as it is now, and the listener's connected devices.",
        good=(Good(200, "The session.", SessionAnswer),),
        refusals=(Code.NOT_FOUND,),
    ),
    api(
        "DELETE",
        "/session/{session_id}",
        "end",
        playing.end,
        fields=EndFields,
        tag="playback",
        summary="End a session; every device is told.",
        good=(Good(200, "What it came to.", SummaryAnswer),),
        refusals=(Code.NOT_FOUND, Code.COMMAND_ID_REUSED, Code.OVERLOADED),
        command=True,
    ),
)

_FORM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": [FILE_FIELD],
    "properties": {
        **{name: {"type": "string"} for name in UploadFields.model_fields},
        FILE_FIELD: {"type": "string", "contentMediaType": "application/octet-stream"},
    },
}

_SCRIPTS = (
    api(
        "GET",
        "/scripts",
        "scripts",
        scripts.list_scripts,
        fields=PageFields,
        tag="scripts",
        summary="The scripts that the listener may hear, newest first.",
        good=(Good(200, "A page of scripts.", ScriptsAnswer),),
    ),
    Route(
        method="POST",
        path=f"{API}/scripts",
        name="upload",
        tag="scripts",
        summary="Upload an audio or video file: as the body, with its fields in the query, or in a form.",
        access="bearer",
        endpoint=guarded(upload),
        fields=UploadFields,
        content={"audio/*": {}, "video/*": {}, "application/octet-stream": {}, FORM_TYPE: _FORM_SCHEMA},
        good=(
            Good(201, "The script, new or with this file; its media are being prepared.", ScriptAnswer),
            Good(200, "The same file was uploaded under this id before.", ScriptAnswer),
        ),
        refusals=(
            *GUARDED,
            Code.FORBIDDEN,
            Code.INVALID,
            Code.NOT_AUDIO,
            Code.SCRIPT_EXISTS,
            Code.CONFLICT,
            Code.OVERLOADED,
            Code.UNAVAILABLE,
            *BODY,
        ),
    ),
    api(
        "GET",
        "/scripts/{script_id}",
        "script",
        script,
        fields=ScriptPath,
        tag="scripts",
        summary="One script, with how far its media are, and its chapters.",
        good=(Good(200, "The script.", ScriptDetailsAnswer),),
        refusals=(Code.NOT_FOUND,),
    ),
    COVER,
    api(
        "GET",
        "/stream/{script_id}",
        "stream",
        scripts.stream,
        fields=StreamFields,
        tag="scripts",
        summary="A signed address of a script's media.",
        good=(Good(200, "The address, and what it leads to.", StreamAnswer),),
        refusals=_SCRIPT,
    ),
    api(
        "POST",
        "/prepare/{script_id}",
        "prepare",
        scripts.prepare,
        fields=PrepareFields,
        in_query=True,
        tag="scripts",
        summary="See to it that a script's media are prepared. Harmless when repeated.",
        good=(Good(202, "How far they are.", PrepareAnswer),),
        refusals=(*_SCRIPT, Code.OVERLOADED),
    ),
    api(
        "DELETE",
        "/prepare/{script_id}",
        "cancel_prepare",
        scripts.cancel,
        fields=ScriptPath,
        tag="scripts",
        summary="Stop preparing an own script; it is `failed` until it is prepared again. Harmless when repeated.",
        good=(Good(200, "How far its media have come.", PrepareAnswer),),
        refusals=(Code.NOT_FOUND, Code.FORBIDDEN, Code.CONFLICT),
    ),
)

_BOOKMARKS = (
    api(
        "POST",
        "/bookmark",
        "bookmark",
        bookmarks.create,
        fields=BookmarkBody,
        tag="bookmarks",
        summary="Mark a place in a script.",
        good=(Good(201, "The bookmark.", BookmarkAnswer),),
        refusals=(Code.NOT_FOUND, Code.OUT_OF_BOUNDS, Code.OVERLOADED, *BODY),
    ),
    api(
        "GET",
        "/bookmarks/{script_id}",
        "bookmarks",
        bookmarks.list_bookmarks,
        fields=ScriptPageFields,
        tag="bookmarks",
        summary="The listener's bookmarks in a script, ordered by position.",
        good=(Good(200, "A page of bookmarks.", BookmarksAnswer),),
        refusals=(Code.NOT_FOUND,),
    ),
    api(
        "PATCH",
        "/bookmark/{bookmark_id}",
        "change_bookmark",
        bookmarks.change,
        fields=BookmarkChangeBody,
        tag="bookmarks",
        summary="Change a bookmark's place, title or note.",
        good=(Good(200, "The bookmark as it is now.", BookmarkAnswer),),
        refusals=(Code.NOT_FOUND, Code.OUT_OF_BOUNDS, *BODY),
    ),
    api(
        "DELETE",
        "/bookmark/{bookmark_id}",
        "delete_bookmark",
        bookmarks.delete,
        fields=BookmarkPath,
        tag="bookmarks",
        summary="Delete a bookmark.",
        good=(Good(204, "It is gone."),),
        refusals=(Code.NOT_FOUND,),
    ),
)

_BELOW_TOKEN = "/p/{token}/t/{script_id}/{media_version}"


def _media(path: str, name: str, summary: str, content_type: str, *refusals: AnyCode) -> Route:
    return Route(
        method="GET",
        path=f"{_BELOW_TOKEN}/{path}",
        name=name,
        tag="media",
        summary=summary,
        access="signed path",
        endpoint=serve_media,
        good=(
            Good(200, "The whole of it.", model=MediaFacts)
            if content_type == FACTS_TYPE
            else Good(200, "The whole of it.", content_type=content_type),
            *((Good(206, "The range of it.", content_type=content_type),) if content_type == SEGMENT_TYPE else ()),
            Good(304, "The copy at hand is good."),
        ),
        refusals=(Code.FORBIDDEN, Code.NOT_FOUND, Code.UNAVAILABLE, *refusals),
    )


_MEDIA = (
    _media("master.m3u8", "multivariant_playlist", "The rungs of a script.", PLAYLIST_TYPE),
    _media("grid.json", "media_facts", "What playlists are made of, for an edge that makes them.", FACTS_TYPE),
    _media("{rung}/index.m3u8", "media_playlist", "The segments of a rung.", PLAYLIST_TYPE),
    _media(
        "{rung}/init.mp4",
        "init_segment",
        "What a player must know before the first segment of a rung.",
        SEGMENT_TYPE,
        HttpCode.RANGE_NOT_SATISFIABLE,
    ),
    _media(
        "{rung}/{segment}.m4s",
        "segment",
        "One segment; takes byte ranges.",
        SEGMENT_TYPE,
        HttpCode.RANGE_NOT_SATISFIABLE,
        HttpCode.SEGMENT_NOT_READY,
    ),
)

_OPERATIONS = (
    Route(
        method="GET",
        path="/healthz",
        name="healthz",
        tag="operations",
        summary="Whether this process runs.",
        access="open",
        endpoint=healthz,
        good=(Good(200, "It runs.", HealthAnswer),),
    ),
    Route(
        method="GET",
        path="/readyz",
        name="readyz",
        tag="operations",
        summary="Whether this process can serve: every part that it needs answers as it must.",
        access="open",
        endpoint=readyz,
        good=(Good(200, "It can.", ReadyAnswer), Good(503, "It cannot; `checks` names the parts.", ReadyAnswer)),
    ),
)

ROUTES: tuple[Route, ...] = (*_PLAYBACK, *LISTENING, *_SCRIPTS, *PARTS, *_BOOKMARKS, *_MEDIA, REVOKED, *_OPERATIONS)
"""Every route that is documented. Pages for people are in app.py."""
