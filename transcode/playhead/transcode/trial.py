"""Whether PCM can be encoded at all: only trying tells of values that are no numbers, and of channels without a place.

Only what ffmpeg names so is refused; whatever else goes wrong here goes wrong again where it can be said better.
"""

from pathlib import Path

from playhead.transcode.arguments import trial_arguments
from playhead.transcode.probe import PROBE_RUN_LIMITS, PROBE_TIMEOUT_S, Measures, Refusal, RefusalKind
from playhead.transcode.processes import run
from playhead.transcode.programs import Programs

TRIAL_S = 1.0
_REFUSALS = {
    "NaN/+-Inf": Refusal(
        RefusalKind.BROKEN,
        "The sound has values that are no numbers, or far beyond full scale. Export it again with 16 or 24 bits.",
    ),
    "Rematrix is needed": Refusal(
        RefusalKind.UNSUPPORTED,
        "The file does not say what its channels are, so they cannot be mixed down. Export it in stereo.",
    ),
}


async def refused_on_trial(programs: Programs, path: Path, measured: Measures) -> Refusal | None:
    """Why a file of PCM cannot be encoded, as far as its beginning tells."""
    if not measured.codec.startswith("pcm_"):
        return None
    command = programs.command(trial_arguments(programs.ffmpeg, path, TRIAL_S), PROBE_RUN_LIMITS)
    try:
        done = await run(command, timeout_s=PROBE_TIMEOUT_S, output_bytes_max=0)
    except OSError:  # TimeoutError is one too
        return None
    return next((refusal for words, refusal in _REFUSALS.items() if words in done.errors), None) if done.code else None
