"""The command line.

``dev`` and ``serve`` run the server in this process. The other commands talk HTTP to a running one, with the
same ``QSTASH_URL`` and ``QSTASH_TOKEN`` that an SDK uses, so they work on any machine and against any server
that speaks the API.

What a script may rely on: results on standard output, as JSON with ``--json``; everything else on standard
error, an error as one line without a traceback; and these exit codes::

    0    done
    1    the server said no, or what was asked for is not there
    2    the command line or a setting is wrong; nothing was done
    3    another process runs on the data directory
    4    the store failed; what was accepted is on disk, start again when the disk is well
    5    no server answered; nothing was changed
    6    the server broke off: whether it did what was asked is not known
    7    a part was done, the rest was refused or is not there
    8    the server stood still and has ended itself; start it again
    70   a bug of ours
    74   the output could not be written; what was asked for may have been done
    130  interrupted

A reader who has seen enough, as in ``lateron tail | head``, is no failure: that is 0.

This file imports nothing heavy, so that ``lateron --version`` answers at once.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches

import lateron
from lateron.cli import exits
from lateron.cli.streams import OutputLost, standard_streams


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if sys.flags.optimize:
        # The asserts of this program are part of it: they stop it before it stores what cannot be.
        return _fail("refusing to run under python -O, which removes the program's own checks", exits.USAGE)
    with standard_streams():
        try:
            code = _run(arguments)
            sys.stdout.flush()
        except KeyboardInterrupt:
            return exits.INTERRUPTED
        except OutputLost as error:
            if error.reader_left:
                return exits.DONE
            return _fail(f"{error}; what was asked for may have been done", exits.OUTPUT)
        return code


def _run(arguments: list[str]) -> int:
    if arguments in (["--version"], ["-version"]):
        print(f"lateron {lateron.__version__}")  # noqa: T201 - This is the answer.
        return exits.DONE
    from typer import Abort

    from lateron.cli.app import app
    from lateron.cli.argv import normalise
    from lateron.errors import LateronError, StorageFull, StoreFailed, StoreLocked

    try:
        code = app(normalise(arguments), prog_name="lateron", standalone_mode=False)
    except StoreLocked as error:
        return _fail(str(error), exits.LOCKED)
    except (StoreFailed, StorageFull) as error:
        return _fail(str(error), exits.STORE)
    except exits.Failed as error:
        return _fail(str(error), error.code)
    except LateronError as error:
        return _fail(str(error), exits.USAGE)
    except Abort:  # The input ended where an answer was asked for.
        return _fail("nothing was changed", exits.REFUSED)
    except OutputLost:
        raise
    except Exception as error:  # noqa: BLE001 - The last door: nobody is shown a traceback unasked.
        message = getattr(error, "format_message", None)
        if message is not None:  # A usage error of the parser; its class is not public.
            return _fail(_in_our_words(_with_nearest(error, message())), exits.USAGE)
        return _bug(error)
    return code if isinstance(code, int) else exits.DONE


def _bug(error: Exception) -> int:
    """Say that an error should not be; show where it was if that is wanted."""
    if os.environ.get("LATERON_LOG_LEVEL", "").lower() == "debug":
        import traceback

        traceback.print_exception(error)
    hint = "a bug of ours; LATERON_LOG_LEVEL=debug shows where"
    return _fail(f"unexpected {type(error).__name__}: {error} ({hint})", exits.BUG)


def _with_nearest(error: Exception, message: str) -> str:
    """Replace the parser's list of similar flags by the one that was probably meant."""
    near = get_close_matches(getattr(error, "option_name", ""), getattr(error, "possibilities", None) or (), n=1)
    return f"{getattr(error, 'message', message)}; did you mean {near[0]}?" if near else message


def _in_our_words(message: str) -> str:
    """Say of a choice what was expected, as all other errors do."""
    return re.sub(
        r"Value error, ('.*') is not one of (.*)\.$",
        lambda found: f"expected one of {found[2].replace(chr(39), '')}, got {found[1]}",
        message,
        flags=re.DOTALL,
    )


def _fail(reason: str, code: int) -> int:
    line = " ".join(reason.split())
    if line:  # Else the parser has printed the help, because a command was missing.
        print(f"lateron: {line}", file=sys.stderr)  # noqa: T201 - Errors go there.
    return code
