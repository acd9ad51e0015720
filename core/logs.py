"""What every log line of a request carries."""

from __future__ import annotations

import logging


class RequestIdFilter(logging.Filter):
    """Gives records of an API request the id that its client saw, as `record.request_mark`."""

    def filter(self, record: logging.LogRecord) -> bool:
        known = getattr(getattr(record, "request", None), "request_id", None)
        record.request_mark = f" [{known}]" if known else ""
        return True
