"""First lines of a supervisor's process, executed as a file: `python -I -S bootstrap.py RUN`.

Isolated, so that neither PYTHONPATH nor a `json.py` in the project gets into it; the import path
comes from the front end over standard input, with what must not be on disk: the words to
execute, secrets included.
"""

import json
import os
import sys

if __name__ == "__main__":
    os.chdir("/")
    if os.getsid(0) != os.getpid():
        os.setsid()  # where posix_spawn cannot do it
    launch = json.load(sys.stdin)
    sys.path[:] = launch["path"]
    from guildlite.execute.supervisor import main

    main(launch)
