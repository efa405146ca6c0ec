"""Where the command line starts; says what is missing when the packages that it needs are not installed."""

import io
import signal
import sys
from typing import NoReturn


def main() -> None:
    """Run the command line with the arguments of the process."""
    try:
        import typer  # noqa: F401
    except ImportError:
        print("error: the command line needs more packages; install them with: pip install 'tsengine[server]'", file=sys.stderr)
        sys.exit(1)
    from tsengine.cli.app import app

    for stream in (sys.stdout, sys.stderr):  # a terminal without Unicode shows names and charts as it can
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
            stream.reconfigure(errors="backslashreplace")
    # A command that is told to end leaves as it does for Ctrl-C: half files and folders of its own are removed on the way out.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, leave)
    app(prog_name="tsengine")


def leave(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
