"""`python -m devkit` is the `orderloop` command."""

from devkit.cli import main

main()
