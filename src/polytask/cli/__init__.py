"""The command line: ``polytask VERB``. Each verb reads its arguments, calls the other rooms and shows their answer."""

from polytask.cli.app import app, main

__all__ = ["app", "main"]
