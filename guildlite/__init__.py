"""guildlite: experiment tracking that leaves your training script alone."""

__version__ = "0.1.0"
