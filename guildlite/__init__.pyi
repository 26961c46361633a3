from guildlite.api import GuildliteError as GuildliteError
from guildlite.api import Run as Run
from guildlite.api import Runs as Runs
from guildlite.api import Series as Series
from guildlite.api import compare as compare
from guildlite.api import form as form
from guildlite.api import launch as launch
from guildlite.api import run as run
from guildlite.api import runs as runs

__version__: str
