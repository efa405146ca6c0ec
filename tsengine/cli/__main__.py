"""Where the command line starts; says what is missing when the packages that it needs are not installed."""

import io
import signal
import sys
from typing import NoReturn, TextIO


def main() -> None:
    """Run the command line with the arguments of the process."""
    try:
        import typer  # noqa: F401
    except ImportError:
        print("error: the command line needs more packages; install them with: pip install 'tsengine[server]'", file=sys.stderr)
        sys.exit(1)
    from tsengine.cli.app import app

    sys.stdout, sys.stderr = whole(sys.stdout), whole(sys.stderr)
    # A command that is told to end leaves as it does for Ctrl-C: half files and folders of its own are removed on the way out.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, leave)
    app(prog_name="tsengine")


def whole(stream: TextIO) -> TextIO:
    """Return a stream that writes all it is given, or fails.

    Without a buffer (PYTHONUNBUFFERED) Python drops what a pipe did not take when its reader goes away or a signal comes, and says nothing.
    What the encoding of a terminal cannot show is written as its number.
    """
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    raw: object = stream.buffer
    if isinstance(raw, io.RawIOBase):
        stream = io.TextIOWrapper(io.BufferedWriter(raw), encoding=stream.encoding, errors=stream.errors, line_buffering=True)
    if stream.encoding.lower() != "utf-8":
        stream.reconfigure(errors="backslashreplace")
    return stream


def leave(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
