"""The routes of uploads that come in parts; rows of the table in `routes.py`."""

from playhead.http import resumable
from playhead.http.answers import ScriptAnswer
from playhead.http.problems import HttpCode
from playhead.http.refusals import BODY
from playhead.http.resumable_models import DeclaredBody, NoFields, UploadAnswer, UploadPath, UploadsAnswer
from playhead.http.route import API, GUARDED, Good, Route, api, guarded
from playhead.playback.rejections import Code

_UPLOAD = f"{API}/uploads/{{upload_id}}"

PARTS = (
    api(
        "POST",
        "/uploads",
        "begin_upload",
        resumable.begin,
        fields=DeclaredBody,
        tag="scripts",
        summary="Begin an upload that comes in parts and can be resumed.",
        good=(
            Good(201, "Where it goes on; `Location` is where to.", UploadAnswer),
            Good(200, "The script that this very file has become before; nothing need be sent.", ScriptAnswer),
        ),
        refusals=(Code.FORBIDDEN, Code.SCRIPT_EXISTS, Code.OVERLOADED, *BODY),
    ),
    api(
        "GET",
        "/uploads",
        "uploads",
        resumable.list_uploads,
        fields=NoFields,
        tag="scripts",
        summary="The caller's uploads that are not whole.",
        good=(Good(200, "All of them.", UploadsAnswer),),
    ),
    api(
        "GET",
        "/uploads/{upload_id}",
        "upload_state",
        resumable.look,
        fields=UploadPath,
        tag="scripts",
        summary="How much of an upload has arrived.",
        good=(Good(200, "The upload.", UploadAnswer),),
        refusals=(Code.NOT_FOUND,),
    ),
    Route(
        method="PUT",
        path=_UPLOAD,
        name="put_part",
        tag="scripts",
        summary="Send the next part of an upload. The last one makes the script, as `POST /scripts` does.",
        access="bearer",
        endpoint=guarded(resumable.put_part),
        fields=UploadPath,
        headers={
            "Content-Range": "`bytes <first>-<last>/<size>`; or `bytes */<size>` without a body: what has become of it?"
        },
        content={"audio/*": {}, "video/*": {}, "application/octet-stream": {}},
        good=(
            Good(202, "It has come; this is where the upload goes on.", UploadAnswer),
            Good(201, "It was the last one. The script; its media are being prepared.", ScriptAnswer),
            Good(200, "It was the last one. The script that the same file has become before.", ScriptAnswer),
        ),
        refusals=(
            *GUARDED,
            Code.INVALID,
            Code.NOT_FOUND,
            HttpCode.WRONG_OFFSET,
            Code.NOT_AUDIO,
            Code.SCRIPT_EXISTS,
            Code.CONFLICT,
            Code.OVERLOADED,
            Code.UNAVAILABLE,
            HttpCode.UNSUPPORTED_MEDIA_TYPE,
            HttpCode.INCOMPLETE,
        ),
    ),
    Route(
        method="DELETE",
        path=_UPLOAD,
        name="abandon_upload",
        tag="scripts",
        summary="Give an upload up, so that no script comes of it; what has arrived goes at once.",
        access="bearer",
        endpoint=guarded(resumable.abandon),
        fields=UploadPath,
        good=(Good(204, "It is gone."),),
        refusals=(*GUARDED, Code.INVALID, Code.NOT_FOUND, Code.CONFLICT, Code.UNAVAILABLE),
    ),
)
