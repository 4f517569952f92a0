"""Become another program, as another user and bound to the parent's life when asked: `exec_as.py OPTIONS -- COMMAND`.

Run as a script by its path (standard library only): doing this between fork and exec of a threaded parent is unsafe.
"""

import argparse
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG, _PR_SET_SECUREBITS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 28, 47, 2
# Without this bit access(2), with which initdb looks for its server, ignores the capability.
_SECBIT_NO_SETUID_FIXUP = 4
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def _switch_user(uid: int, gid: int, keep_file_access: bool) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if keep_file_access:
        _check(libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0), "keep capabilities")
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if keep_file_access:
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        bit = 1 << _CAP_DAC_OVERRIDE
        data = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
        _check(libc.capset(header, data), "set capabilities")
        _check(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0), "raise capability")


def main() -> None:
    """Apply the options to this process and replace it with the command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    parser.add_argument("--keep-file-access", action="store_true", help="let the user reach files root can reach")
    parser.add_argument("--parent", type=int, help="die when this process, our parent, does")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    if options.uid is not None:
        _switch_user(options.uid, options.gid, options.keep_file_access)
    if options.parent is not None and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != options.parent:
            sys.exit(1)
    os.execv(options.command[0], options.command)  # noqa: S606


if __name__ == "__main__":
    main()
