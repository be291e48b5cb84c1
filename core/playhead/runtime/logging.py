"""Logging: a sentence for people and a stable `action` for machines; JSON in production.

    log.info("The worker took a job.", action="job_taken", script_id=…)

Standard library loggers (aiohttp, asyncio, socketio) go through the same output.
Never log tokens, payloads or URLs with a signature: tracebacks are printed without the values of variables, and
`request_logs` keeps requests out of what the servers' libraries log.
"""

import logging
import sys
from typing import Literal

import structlog

from playhead.runtime.request_logs import HidesBadRequests

NOISY_LOGGERS = ("socketio", "engineio", "aiohttp.access", "pgqueuer")
SOCKET_LOGGERS = ("engineio.server", "socketio.server")


def configure(level: str, output_format: Literal["json", "console"], process: str | None = None) -> None:
    """Sets up structlog and the standard library's root logger to write to standard error.

    `process`: which of several processes with one output this is, a field of each line.
    """

    def named(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return event if process is None else {**event, "process": process}

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        named,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering: list[structlog.typing.Processor] = (
        [
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(),
        ]
        if output_format == "json"
        # not its default: that prints the variables of each frame, and with them tokens
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    _hide_requests()


def _hide_requests() -> None:
    for name, hides_all in (("aiohttp.server", False), *((name, True) for name in SOCKET_LOGGERS)):
        logger = logging.getLogger(name)
        # configured again, it is one filter still
        logger.filters = [HidesBadRequests(hides_all)]
    for name in SOCKET_LOGGERS:
        # Their warnings quote sessions' ids and come with every refused client. And where no level is set, the
        # libraries set one and add a handler of their own, past our format.
        logging.getLogger(name).setLevel(logging.ERROR)
