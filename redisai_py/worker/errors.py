"""Exceptions as the error replies that clients get."""

from __future__ import annotations

# Not assigned to as attributes: an exception that is a frozen dataclass, for one, refuses that.
REFERENCES = [vars(BaseException)[name] for name in ("__traceback__", "__cause__", "__context__")]


def text_of(error: BaseException) -> str:
    """``str(error)``; nothing when that raises, since the exception's class may be anybody's."""
    try:
        return str(error)
    except BaseException:
        return ""


def error_text(error: BaseException) -> bytes:
    """The error reply for an exception, without the leading ``-``.

    The text is sent as it stands, as RedisAI sends the texts of its libraries:
    ours begin with ``ERR``, theirs do not. Newlines are replaced where the text
    is stored in the job.
    """
    text = text_of(error).strip() or f"ERR {type(error).__name__}"
    return text.encode(errors="replace")


def forget_frames(error: BaseException) -> None:
    """Lets go of the frames that an exception came through, and with them of the inputs of its request.

    One of them is the backend's, whose list of results holds the exception: left alone, all of that would live until
    the collector comes, which is seldom.
    """
    for reference in REFERENCES:
        reference.__set__(error, None)
