"""The parts of an image reference, as patterns: HOST/PATH:TAG@DIGEST.

The grammar is that of distribution's `reference` package, but hosts must be in lower case.
"""

from plan.images.digest import PATTERN

LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HOST = rf"{LABEL}(\.{LABEL})*(:[0-9]{{1,5}})?"
PATH_PART = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
PATH = rf"{PATH_PART}(/{PATH_PART})*"
TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
DIGEST = PATTERN
