"""Becomes another program: the last step between fork and exec, run as `python -I -S exec_stub.py`.

    exec_stub.py IDENTITY PARENT_PID DEATH_SIGNAL PROGRAM [ARGUMENT …]

Owns: under which identity the program runs, and that it ends with its parent. Must not import anything of ours.
It replaces itself, so the pid that the parent knows is the program's. A `preexec_fn` would be unsafe with threads.

PostgreSQL refuses to run as root. Two ways around it; neither touches users or folders of the system:
    namespace   a user namespace of one id: inside the program is nobody, outside it is still root
    nobody      where namespaces are closed (Docker's default): nobody, with the capability to reach root's folders
"""

import ctypes
import os
import signal
import sys

NAMESPACE_CLOSED = 97
PARENT_GONE = 98
IDENTITY_REFUSED = 99

NOBODY_ID = 65534
"""A user that every system knows: initdb looks its own user up."""

# linux/sched.h, linux/prctl.h, linux/capability.h
_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


def enter_namespace(libc: ctypes.CDLL) -> None:
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWUSER) != 0:
        os._exit(NAMESPACE_CLOSED)
    try:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{NOBODY_ID} {user} 1"),
            ("gid_map", f"{NOBODY_ID} {group} 1"),
        ):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    except OSError:
        os._exit(NAMESPACE_CLOSED)


def become_nobody(libc: ctypes.CDLL) -> None:
    """Drops to nobody, but keeps CAP_DAC_OVERRIDE across exec: the data may lie where only root may enter."""
    libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(NOBODY_ID)
    os.setuid(NOBODY_ID)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    mask = 1 << _CAP_DAC_OVERRIDE
    sets = (ctypes.c_uint32 * 6)(
        mask, mask, mask, 0, 0, 0
    )  # effective, permitted, inheritable; then their upper halves
    if (
        libc.capset(header, sets) != 0
        or libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0) != 0
    ):
        os._exit(IDENTITY_REFUSED)


def end_with_parent(libc: ctypes.CDLL, parent_pid: int, death_signal: int) -> None:
    """Asks the kernel for `death_signal` when the thread that forked us ends: the main thread of the parent."""
    libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent_pid:  # it ended before we asked
        os._exit(PARENT_GONE)


def main() -> None:
    identity, parent_pid, death_signal, arguments = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    libc = ctypes.CDLL(None, use_errno=True)
    if identity == "namespace":
        enter_namespace(libc)
    elif identity == "nobody":
        become_nobody(libc)
    if sys.platform == "linux" and parent_pid:
        end_with_parent(libc, parent_pid, death_signal)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would hand that on
    os.execv(arguments[0], arguments)


if __name__ == "__main__":
    main()
