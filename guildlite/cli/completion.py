"""`gl completion`: the script by which a shell completes the words of gl.

Each script hands the line to gl itself, `_GL_COMPLETE=SHELL gl ...`, which `main` answers by
`completing`; what it prints is described at the `format_` functions of `shellwords`.
"""

from __future__ import annotations

import click

from guildlite.cli.context import Context
from guildlite.cli.words import command

# bash 3.2, which macOS has, knows no `mapfile` and no `compopt`.
_BASH = r"""
_gl_complete() {
    local reply line first=1
    COMPREPLY=()
    reply=$(_GL_COMPLETE=bash _GL_LINE="${COMP_LINE:0:COMP_POINT}" \
        _GL_BREAKS="$COMP_WORDBREAKS" "$1" 2>/dev/null) || return 0
    while IFS= read -r line; do
        if [ -n "$first" ]; then
            first=
            if [ "$line" = nospace ]; then compopt -o nospace 2>/dev/null; fi
        else
            COMPREPLY+=("$line")
        fi
    done <<< "$reply"
    return 0
}
complete -o nosort -F _gl_complete gl guildlite 2>/dev/null ||
    complete -F _gl_complete gl guildlite
"""

_ZSH = r"""#compdef gl guildlite
_gl() {
    local -a lines whole whole_shown begun begun_shown
    local place
    lines=("${(@f)$(_GL_COMPLETE=zsh ${(Q)words[1]} \
        "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    for (( place = 1; place + 2 <= $#lines; place += 3 )); do
        if [[ -n $lines[place] ]]; then
            begun+=("$lines[place+1]") begun_shown+=("$lines[place+2]")
        else
            whole+=("$lines[place+1]") whole_shown+=("$lines[place+2]")
        fi
    done
    (( $#whole )) && compadd -U -l -V gl-whole -d whole_shown -a -- whole
    (( $#begun )) && compadd -U -l -V gl-begun -S '' -d begun_shown -a -- begun
    (( $#whole + $#begun ))
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _gl "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef _gl gl guildlite
fi
"""

_FISH = r"""
function __gl_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    _GL_COMPLETE=fish $words[1] $words[2..-1] "$current" 2>/dev/null
end
complete -c gl -e
complete -c gl -f -k -a '(__gl_complete)'
complete -c guildlite -e
complete -c guildlite -f -k -a '(__gl_complete)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


@command("completion")
@click.argument("shell", type=click.Choice([*SCRIPTS]), metavar="bash|zsh|fish")
@click.pass_obj
def completion(context: Context, shell: str) -> None:
    """Print the script that completes gl in a shell.

    It completes commands, options, models, profiles, flags and their values, runs and filters.
    One line in the shell's own file turns it on.

    \b
    Examples:
      ~/.bashrc                   eval "$(gl completion bash)"
      ~/.zshrc                    eval "$(gl completion zsh)"
      ~/.config/fish/config.fish  gl completion fish | source
    """
    context.write(SCRIPTS[shell].strip("\n"))
