"""``kflow completion``: the few lines by which a shell completes words with Tab."""

from __future__ import annotations

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print what makes SHELL complete commands, options and file names.

    \b
    bash:  echo 'eval "$(kflow completion bash)"' >> ~/.bashrc
    zsh:   echo 'eval "$(kflow completion zsh)"' >> ~/.zshrc     (after compinit)
    fish:  kflow completion fish > ~/.config/fish/completions/kflow.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    context = click.get_current_context().find_root()
    if kind is not None:
        click.echo(kind(context.command, {}, "kflow", "_KFLOW_COMPLETE").source())
