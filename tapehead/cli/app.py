"""Puts the commands together, and turns what goes wrong into a sentence and an exit code."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from tapehead.cli import ask, bundle, models, sessions, states, stream, travels
from tapehead.cli import server as server_command
from tapehead.cli.options import AccessOptions, Server, access
from tapehead.errors import ServerUnreachable, TapeheadError, TokenInvalid

# What somebody at a terminal can do, which the library's error does not say.
_HINTS: dict[type[Exception], str] = {
    ServerUnreachable: "; is it running?",
    TokenInvalid: "; give --token-file FILE before the command, or set TAPEHEAD_TOKEN",
}

app = typer.Typer(
    name="tapehead",
    help="Ask questions about stories, stream into models that remember, look at sessions and models, make bundles.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("ask")(ask.ask)
app.command("tell")(ask.tell)
app.command("stream")(stream.stream)
app.command("server")(server_command.server)
sessions.app.command("state")(states.state)
sessions.app.command("fork")(states.fork)
sessions.app.command("rewind")(states.rewind)
sessions.app.command("export")(travels.export_session)
sessions.app.command("import")(travels.import_session)
app.add_typer(sessions.app, name="sessions")
app.add_typer(models.app, name="models")
app.add_typer(bundle.app, name="bundle")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tapehead {version('tapehead')}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    server: Server = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="A file with the token that says who calls; or set TAPEHEAD_TOKEN."),
    ] = None,
    tls: Annotated[bool | None, typer.Option("--tls/--no-tls", help="Encrypt; so does any of the files below.")] = None,
    tls_ca: Annotated[Path | None, typer.Option("--tls-ca", help="Who signs for the server, in PEM.")] = None,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", help="This client's certificate, in PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="The key of that certificate, in PEM.")] = None,
    insecure_token: Annotated[
        bool | None, typer.Option("--insecure-token", help="Send the token unencrypted, also to another machine.")
    ] = None,
) -> None:
    access.set(AccessOptions(server, token_file, tls, tls_ca, tls_cert, tls_key, insecure_token))


def main() -> None:
    """Exit codes: 0 done, 1 an error (a sentence on stderr), 2 wrong usage, 130 interrupted."""
    try:
        app()
    except BrokenPipeError:  # whoever read the output has gone
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}")
    except (TapeheadError, ValueError) as error:
        _fail(f"{error}{_HINTS.get(type(error), '')}")


def _fail(sentence: str) -> NoReturn:
    print(f"tapehead: {sentence}", file=sys.stderr)
    sys.exit(1)
