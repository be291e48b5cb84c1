"""How hypothesis looks for examples: without a clock, and with other ones in every run, also with CI=true.

Its own profile for CI repeats the same examples for ever. Here such a run takes one random seed, which is said in its
head and again after a failure: `--hypothesis-seed=…` repeats it. Elsewhere failing examples are kept and tried first
(`.hypothesis`), which a seed would switch off; a failure prints the `@reproduce_failure` that brings it back.
A pytest plugin, switched on in tests/conftest.py.
"""

import random

import pytest
from hypothesis import HealthCheck, core, settings

from tests.support.skips import IN_CI

SEED_BITS = 32
PROFILE = "playhead"

# health checks of speed measure the machine, not the test
settings.register_profile(
    PROFILE,
    deadline=None,
    print_blob=True,
    derandomize=False,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(PROFILE)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """After hypothesis has read `--hypothesis-seed`; as that option, so that all processes have one seed."""
    if IN_CI and core.global_force_seed is None:
        seed = random.SystemRandom().getrandbits(SEED_BITS)
        core.global_force_seed = seed  # type: ignore[assignment]  # it says None alone
        config.option.hypothesis_seed = str(seed)


def _told() -> str | None:
    seed = core.global_force_seed
    return None if seed is None else f"hypothesis seed: {seed} (again with --hypothesis-seed={seed})"


def pytest_report_header() -> list[str]:
    told = _told()
    return [] if told is None else [told]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    told = _told()
    if told is not None and exitstatus == pytest.ExitCode.TESTS_FAILED:
        terminalreporter.write_line(told)
