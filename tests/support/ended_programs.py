"""ffmpeg and ffprobe that something ends: the kernel that is short of memory, an operator, a disk that hangs."""

from dataclasses import dataclass
from pathlib import Path

from playhead.transcode import Programs
from tests.support.audio import FFMPEG, FFPROBE

REAL = {"ffprobe": FFPROBE, "ffmpeg": FFMPEG}
FOR_EVER = 1_000


@dataclass(frozen=True, slots=True)
class EndedPrograms:
    """Of the runs of `program` the first `times` end as the line of shell `ending` has it; the others are real.

    Without limits, as it writes a file.
    """

    folder: Path
    program: str
    ending: str
    times: int

    def make(self) -> Programs:
        self.folder.mkdir()
        script = self.folder / self.program
        script.write_text(
            f"#!/bin/sh\necho >> {self._log}\n"
            f'if [ $(wc -l < {self._log}) -le {self.times} ]; then {self.ending}; fi\nexec {REAL[self.program]} "$@"\n'
        )
        script.chmod(0o755)
        paths = {**REAL, self.program: str(script)}
        return Programs(ffmpeg=paths["ffmpeg"], ffprobe=paths["ffprobe"], version="8")

    @property
    def runs(self) -> int:
        return len(self._log.read_text().splitlines())

    @property
    def _log(self) -> Path:
        return self.folder / "runs"
