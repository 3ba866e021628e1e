"""`freqkit completion`: what a shell needs to complete commands and flags."""

import click

from freqkit.cli.app import app, command


@command(app, "completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell):
    """Print the completion script of SHELL.

    \b
    eval "$(freqkit completion bash)"                                           # in ~/.bashrc
    eval "$(freqkit completion zsh)"                                            # in ~/.zshrc
    freqkit completion fish > ~/.config/fish/completions/freqkit.fish
    """
    from click.shell_completion import get_completion_class

    click.echo(get_completion_class(shell)(app, {}, "freqkit", "_FREQKIT_COMPLETE").source())
