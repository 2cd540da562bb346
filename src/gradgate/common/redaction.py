"""Credentials stay out of logs, records and messages."""

import re

HIDDEN = "***"  # stands for what was taken out


def redacted(text: str) -> str:
    """`text` with user, password and query of every URL in it replaced by ***.

    The query as well, because presigned URLs carry their secret there.
    """
    # the first form: a password that holds a slash, as database drivers allow it
    text = re.sub(r"://([^/\s:]+:\S*|[^/\s]*)@", f"://{HIDDEN}@", text)
    return re.sub(r"(://[^\s?]*\?)[^\s'\")]+", rf"\1{HIDDEN}", text)
