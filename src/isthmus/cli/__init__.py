"""The command line: one small file per verb. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from typing import Any

from isthmus.errors import InputError, IsthmusError
from isthmus.telling import Once

VERBS = {
    "demo": "run the whole pipeline on a simulated cohort",
    "init": "print a commented recipe with every key",
    "run": "read, split, prepare, fit, evaluate, report",
    "compare": "a grid of settings beside the baselines: one leaderboard",
    "tune": "search the settings that suit the data",
    "impute": "fill what is missing by what fills best what is known",
    "associate": "which features of two modalities go together, groups taken out",
    "apply": "a saved model on new samples",
    "audit": "what a run's model gives away of its samples",
    "slides": "whole-slide images to tiles and features, attention over them",
    "share": "a pseudonymised bundle of a run, audited; keys; names back",
    "verify": "a bundle: whole, within its policy, safe to open",
    "simulate": "write a cohort with planted truth",
    "models": "the architectures there are",
    "steps": "the preparation steps there are",
    "doctor": "what this machine has",
}
GROUPS = ("slides",)
"""Verbs that have verbs of their own, and alone print their help."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit: 0 done, 2 the user's input is wrong, 1 our fault, 130 and 143 interrupted."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    given = [a for a in given if a != "--debug"]
    sys.exit(_run(given, debug=debug))


def _run(given: list[str], *, debug: bool) -> int:
    import typer

    usage: type[Any] = typer.BadParameter.__mro__[2]  # click's ClickException, whichever click this typer brings
    _speak(verbose="--verbose" in given)
    asked = [a for a in given if a != "--verbose"]
    if not asked or (len(asked) == 1 and asked[0] in GROUPS):
        asked.append("--help")
    try:
        code = _application(given)(args=asked, standalone_mode=False)
    except usage as error:
        return _say(error.format_message(), 2)
    except IsthmusError as error:
        if debug:
            raise
        return _say(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _say("interrupted", 130)
    except SystemExit as stop:
        if stop.code != 143:
            raise
        return _say("interrupted", 143)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        if debug:
            raise
        return _say(f"out of memory: {error}\nfewer samples or features at a time, or a machine with more", 1)
    except OSError as error:
        if debug:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _say(f"{where}{error.strerror or error}", 1)
    except Exception as error:
        if debug:
            raise
        return _say(f"unexpected {type(error).__name__}: {error}\nthis is our fault: please report it with --debug", 1)
    return _say("interrupted", 130) if code == 130 else code if isinstance(code, int) else 0


def _say(message: str, code: int) -> int:
    lines = [line for line in message.splitlines() if line.strip()]
    sys.stderr.write("error: " + "\n".join([lines[0] if lines else "unknown", *lines[1:3]]) + "\n")
    return code


def _application(given: list[str]) -> Any:
    """The application with the verb that was asked for; all of them where help was."""
    import typer

    app = typer.Typer(
        help="Multi-modal integration with autoencoders, honest by default.", no_args_is_help=True,
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    )  # fmt: skip
    asked = next((a for a in given if not a.startswith("-")), None)
    if asked is not None and asked not in VERBS:
        from isthmus.errors import closest

        hint = closest(asked, VERBS)
        raise InputError("no such command", met=asked, hint=hint)
    for verb, text in VERBS.items():
        if verb == asked:
            module = importlib.import_module(f"isthmus.cli.{verb}")
            if hasattr(module, "app"):
                app.add_typer(module.app, name=verb)
            else:
                app.command(verb, help=None)(module.command)
        else:
            app.command(verb, help=text)(_absent)
    app.callback()(_options)
    return app


def _absent() -> None:
    """Stand in for a verb that was not asked for."""


def _options(
    debug: bool = False,
    verbose: bool = False,
) -> None:
    """Multi-modal integration with autoencoders, honest by default.

    --debug shows tracebacks, --verbose what was detected and decided.
    """


def _speak(*, verbose: bool) -> None:
    """Warnings (with --verbose everything) to the terminal, a line each, and none twice, however many folds say it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Once())
    handler.setLevel(logging.INFO if verbose else logging.WARNING)
    handler.setFormatter(_Lines())
    logger = logging.getLogger("isthmus")
    logger.setLevel(logging.INFO)
    logger.handlers = [h for h in logger.handlers if not isinstance(h.formatter, _Lines)] + [handler]


class _Lines(logging.Formatter):
    """`warning: ...`, or the message alone."""

    def format(self, record: logging.LogRecord) -> str:
        text = " ".join(record.getMessage().split())
        return f"{record.levelname.lower()}: {text}" if record.levelno >= logging.WARNING else text
