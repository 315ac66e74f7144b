"""In what the fallback plugins are known to answer otherwise than the official ones.

`docs/stand-ins.md` prints the reasons.
"""

from tests.standins.scenarios import COMMAND
from tests.standins.transcripts import Known

KNOWN = (
    Known(
        type=COMMAND,
        path=r"\d+ Update\.answered\.properties\.(stdout|stderr)",
        reason=(
            "A preview with an unknown inside of `environment` calls a command's output unknown; "
            "the official one shows the output of the last run."
        ),
        seen_in="an unknown",
    ),
    Known(
        type=COMMAND,
        path=r"\d+ Check\.answered\.failures",
        reason="A value of a map that is no text is called `environment[A]` in the error.",
        seen_in="what is no text",
    ),
)
