"""The command line. Each file holds one group of commands; nothing is imported here, so that `--help` is quick."""
