"""Ctrl-C while compiled code runs: the command ends within two seconds all the same.

Python tells its main thread of a signal between two of its own instructions, which LAPACK or a
compiled network may keep it from for hours. A thread of our own hears of it at once, gives the
command a second to end by itself, and ends the process otherwise. What was being written then has a
hidden name, under which the next command finds and removes it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

__all__ = ["end_in_time"]

CODE = 130
"""Exit code of a command that was interrupted, as shells have it."""

_PATIENCE = 1.0  # seconds in which a command may end by itself


def end_in_time() -> None:
    """Begin to listen for Ctrl-C; for the main thread of a process that is a command's own."""
    if os.name != "posix":  # signals wake sockets there, and Ctrl-Break ends the process
        return
    listen, say = os.pipe()
    os.set_blocking(say, False)
    signal.set_wakeup_fd(say, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(listen,), daemon=True, name="dock-interrupt").start()


def _watch(listen: int) -> None:
    while True:
        if signal.SIGINT in os.read(listen, 64):
            break
    threading.Event().wait(_PATIENCE)
    processes = sys.modules.get("multiprocessing")
    for child in processes.active_children() if processes is not None else ():
        child.terminate()
    os.write(2, b"dock: interrupted\n")
    os._exit(CODE)
