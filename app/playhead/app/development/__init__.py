"""`playhead run`: embedded servers, server, flusher and worker processes, a sample, and links for two devices.

For development and a first look alone: it makes keys, and prints tokens.
"""

import argparse

from playhead.app.development.options import DevelopmentOptions, add_options, options_of

__all__ = ["DevelopmentOptions", "add_options", "run_development"]


async def run_development(arguments: argparse.Namespace) -> int:
    """Runs until it is told to stop. Answers the exit code: 0 after an orderly stop, 1 with the cause on stderr."""
    from playhead.app.development.supervisor import supervise  # other commands need not load all this

    return await supervise(options_of(arguments))
