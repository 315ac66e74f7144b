"""Known differences between the answers of the fallback plugins and the official ones.

`docs/fallback-plugins.md` prints the reasons.
"""

from tests.real.fallback_plugins.scenarios import COMMAND, CONTAINER, IMAGE, VOLUME
from tests.real.fallback_plugins.transcripts import Known

BRIDGED = (CONTAINER, VOLUME, IMAGE)
KNOWN = (
    Known(
        types=BRIDGED,
        path=r".*\.__(defaults|meta|pulumi_raw_state_delta)",
        reason="`__defaults`, `__meta` and similar, which the official one keeps for itself.",
        seen_in="what a cache has",
    ),
    Known(
        types=BRIDGED,
        path=r"\d+ Diff\.answered\.stables",
        reason="The list of properties that no update changes (`stables`).",
        seen_in="what a cache has",
    ),
    Known(
        types=(COMMAND,),
        path=r"\d+ Update\.answered\.properties\.(stdout|stderr)",
        reason=(
            "A preview with an unknown inside `environment` shows a command's output as unknown; "
            "the official one shows the output of the last run."
        ),
        seen_in="an unknown",
    ),
)
