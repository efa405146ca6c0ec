"""`python -m tsengine`: the command line."""

from tsengine.cli.__main__ import main

if __name__ == "__main__":
    main()
