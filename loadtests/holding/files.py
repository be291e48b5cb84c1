"""How many sockets a process of this machine may have, and how many processes that makes."""

import resource

RESERVED = 600
"""Descriptors of a process that are no sockets of ours, and some room."""
SOCKETS_A_PROCESS_MAX = 18_000
"""A source address has 28,232 ports, and a process is to stay below what its one core can do in a second."""


def raise_file_limit() -> int:
    """As many descriptors as the system lets this process, and those that it starts, have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def sockets_a_process(descriptors: int) -> int:
    """How many of them one process may hold."""
    return min(SOCKETS_A_PROCESS_MAX, descriptors - RESERVED)
