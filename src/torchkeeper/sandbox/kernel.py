"""System calls that Python has no names for, by ctypes; an error is an OSError."""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

#: What a system call takes: a number, a structure or buffer, or nothing.
Argument = int | ctypes.Array[ctypes.c_char] | ctypes.Structure | None


def _word(argument: Argument) -> ctypes.c_ulong | ctypes.c_void_p:
    """An argument as wide as the kernel reads it: a varargs function takes a plain one for an int."""
    if argument is None:
        return ctypes.c_void_p(None)
    if isinstance(argument, int):
        return ctypes.c_ulong(argument & (2**64 - 1))
    return ctypes.cast(ctypes.pointer(argument), ctypes.c_void_p)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def prctl(option: int, *arguments: Argument) -> int:
    """`prctl(2)`; what is left out is 0."""
    words = [_word(argument) for argument in (*arguments, *(0,) * (4 - len(arguments)))]
    return _checked(_libc.prctl(ctypes.c_int(option), *words))


def syscall(number: int, *arguments: Argument) -> int:
    """A system call by its number."""
    return _checked(_libc.syscall(ctypes.c_long(number), *(_word(argument) for argument in arguments)))


def capset(header: ctypes.Structure, sets: ctypes.Structure) -> None:
    """`capset(2)`."""
    _checked(_libc.capset(_word(header), _word(sets)))
