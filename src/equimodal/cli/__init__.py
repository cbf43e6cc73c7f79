"""The command line: `equimodal train | predict | diagnose | bench | report | methods | data | demo`.

Nothing here imports PyTorch or scikit-learn before a command needs it, so that help answers at once. A refusal is one
sentence on the error stream and exit code 2; an interrupted run is exit code 130 and the command that resumes it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Parameter

from .. import __version__
from ..errors import EquimodalError
from . import bench, data, demo, diagnose, methods, report, train

__all__ = ["app", "main"]

REFUSED, INTERRUPTED = 2, 130
_WORDS = {"None": "none", "{}": "none", "True": "yes", "False": "no"}


def _default(value: object) -> str:
    """A default as help pages say it; every option has one, also where it is nothing."""
    return _WORDS.get(str(value), str(value))


app = App(
    name="equimodal",
    help="Train classifiers on several modalities so that none is left behind, and see what each contributes.",
    version=__version__,
    default_parameter=Parameter(show_default=_default),
    suppress_keyboard_interrupt=False,
)
app.command(train.train)
app.command(train.predict)
app.command(diagnose.diagnose)
app.command(bench.bench)
app.command(report.report)
app.command(methods.methods)
app.command(data.app)
app.command(demo.demo)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: without the program's name; by default those of the process.

    Returns:
        The exit code: 0; 2 if something that the user can put right was refused; 130 if interrupted.
    """
    if os.getcwd() not in sys.path:  # one's own components, "module:Class()", may lie here
        sys.path.append(os.getcwd())
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except (EquimodalError, CycloptsError) as error:
        return _say(str(error), REFUSED)
    except KeyboardInterrupt as stop:
        return _say(str(stop) or "stopped.", INTERRUPTED)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _say(sentence: str, code: int) -> int:
    print("equimodal:", " ".join(sentence.split()), file=sys.stderr)
    return code
