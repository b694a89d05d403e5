"""The command `pgflow`: one module a command group, imported only when its command is called."""

from pgflow.cli.app import main

__all__ = ["main"]
