"""First lines of a supervisor's process, executed as a file: `python -I -S bootstrap.py RUN`.

Isolated, so that neither PYTHONPATH nor a `json.py` in the project gets into it; the import path
comes from the front end over standard input, with what must not be on disk: the words to
execute, secrets included.
"""

import json
import os
import sys


def close_inherited(kept: set[int]) -> None:
    """Close what the caller left open: a pipe held by a detached run would never end."""
    for name in os.listdir("/dev/fd"):
        if int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:
                pass  # the listing's own descriptor


if __name__ == "__main__":
    os.chdir("/")
    if os.getsid(0) != os.getpid():
        os.setsid()  # where posix_spawn cannot do it
    launch = json.load(sys.stdin)
    close_inherited({0, 1, 2, launch["poke"], launch["terminal"]})
    sys.path[:] = launch["path"]
    from guildlite.execute.supervisor import main

    main(launch)
    # No interpreter shutdown, which would wait for a thread inside a sick driver.
    os._exit(0)
