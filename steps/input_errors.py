"""ZenML logs whatever ends a step with its stack trace. For a user's mistake, one line says more."""

import logging
import sys
from types import TracebackType
from typing import Any

from sanaflow.errors import InputError


def log_input_errors_in_one_line() -> None:
    """Log an `InputError` as its text, here and where a step runs in a process or pod of its own."""
    make_record = logging.getLogRecordFactory()

    def without_trace(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make_record(*args, **kwargs)
        if record.exc_info and isinstance(record.exc_info[1], InputError):
            record.msg = f"{record.getMessage().rstrip('.')}: {record.exc_info[1].message}"
            record.args, record.exc_info = (), None
        return record

    show = sys.excepthook

    def without_trace_at_the_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, InputError):
            print(f"Error: {error.message}", file=sys.stderr)
        else:
            show(kind, error, trace)

    logging.setLogRecordFactory(without_trace)
    sys.excepthook = without_trace_at_the_end
