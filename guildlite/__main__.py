"""`python -m guildlite` is the same as `gl`."""

from guildlite.cli.main import main

if __name__ == "__main__":
    main()
