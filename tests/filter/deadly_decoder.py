"""The work of filter/image_work.py, in a child that dies of files of one length."""
from __future__ import annotations

import os
import signal
from typing import Any

from filter.image_work import open_work


def open_deadly(settings: Any) -> Any:
    """Returns the work of a sandbox: the facts of one image, or death."""
    work = open_work(settings)

    def deadly(header: Any, data: bytes) -> tuple[Any, bytes]:
        if len(data) == settings["length"]:
            os.kill(os.getpid(), signal.SIGSEGV)
        return work(header, data)
    return deadly
