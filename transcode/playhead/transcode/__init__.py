"""Turns uploads into HLS: measures them, encodes them on the grid, and works through the queue of scripts.

Owns: ffmpeg and ffprobe processes, what is asked of them, and the order of the work. Must not know: HTTP, sockets, SQL.

    find_programs     which ffmpeg and ffprobe
    Ingest            an upload → its exact measures, or why it is refused
    Encoder           any segments [a, b) of a source, any rungs at once
    PrepareQueue      jobs in PostgreSQL
    Demand            segments that are asked for and not there
    Precedence        of those over what nobody waits for, on one machine
    Worker            takes jobs, encodes all segments of a script, writes status and progress
    LoudnessMeter     measures how loud scripts are, beside the worker
    Collector         removes from the storage what no script needs
    sweep_scratch     removes from a server's disk what killed processes decoded
    ToldStatus        tells what it writes
"""

from playhead.transcode.demand import DEMAND_TIMEOUT_S, UNREAD_BYTES_MAX, Demand, SegmentNotNow
from playhead.transcode.doubt import GarbageRefused
from playhead.transcode.encoder import BULK_UNREAD_BYTES_MAX, EncodeFailed, Encoder, EncoderSource
from playhead.transcode.garbage import Collector, Garbage, collect_regularly
from playhead.transcode.ingest import Ingest
from playhead.transcode.loudness import LoudnessMeter
from playhead.transcode.precedence import GivesWay, Precedence
from playhead.transcode.probe import Measures, Refusal, RefusalKind
from playhead.transcode.programs import Programs, ProgramsMissing, find_programs
from playhead.transcode.queue import PrepareQueue
from playhead.transcode.scratch import sweep_scratch
from playhead.transcode.telling import ToldStatus
from playhead.transcode.tries import ProbeFailed
from playhead.transcode.worker import ScriptStatus, Worker

__all__ = [
    "BULK_UNREAD_BYTES_MAX",
    "DEMAND_TIMEOUT_S",
    "UNREAD_BYTES_MAX",
    "Collector",
    "Demand",
    "EncodeFailed",
    "Encoder",
    "EncoderSource",
    "Garbage",
    "GarbageRefused",
    "GivesWay",
    "Ingest",
    "LoudnessMeter",
    "Measures",
    "Precedence",
    "PrepareQueue",
    "ProbeFailed",
    "Programs",
    "ProgramsMissing",
    "Refusal",
    "RefusalKind",
    "ScriptStatus",
    "SegmentNotNow",
    "ToldStatus",
    "Worker",
    "collect_regularly",
    "find_programs",
    "sweep_scratch",
]
