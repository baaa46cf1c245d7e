"""Converters: every file format is a door into one object, `dock.core.calculation.Calculation`.

`read` and `write` find a format by name or content; each code's package has its own `read` and
`write`, such as ``dock.converters.siesta.read``. What a format is, `dock.converters.format` says;
which there are, `dock.converters.registry`; many runs are the matter of `dock.converters.plan` and
`dock.converters.batch`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dock.extras import lazy_names

if TYPE_CHECKING:
    from dock.converters.batch import convert as convert
    from dock.converters.format import (
        Format as Format,
        ReadOptions as ReadOptions,
        WriteOptions as WriteOptions,
    )
    from dock.converters.registry import (
        detect as detect,
        format_names as format_names,
        get_format as get_format,
        read as read,
        resolve as resolve,
        transfer as transfer,
        write as write,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "dock.converters.batch": "convert",
        "dock.converters.format": "Format ReadOptions WriteOptions",
        "dock.converters.registry": "detect format_names get_format read resolve transfer write",
    },
)
