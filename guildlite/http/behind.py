"""What two servers of ours agree on of which one starts the other and passes requests on to it."""

#: Line on standard error of the one behind once it can answer.
READY = "guildlite: the server answers"
#: Exit status of the one behind when it has said why on lines that begin `error: ` and `hint: `.
REFUSED = 3
#: Request header with the address, less its last slash, at which clients reach the one behind.
BASE_HEADER = "X-Guildlite-Base"
