"""Where the command line starts; says what is missing when the packages that it needs are not installed."""

import sys


def main() -> None:
    """Run the command line with the arguments of the process."""
    try:
        import typer  # noqa: F401
    except ImportError:
        print("error: the command line needs more packages; install them with: pip install 'tsengine[server]'", file=sys.stderr)
        sys.exit(1)
    from tsengine.cli.app import app

    app(prog_name="tsengine")


if __name__ == "__main__":
    main()
