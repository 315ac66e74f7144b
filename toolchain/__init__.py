"""Set-up: finds the official tools, installs or builds what is missing, and says which it uses.

Only the standard library is imported at the top of these modules: they run before anything is
installed. Each change to the machine is made once per version, and reported on standard error.
"""

import host  # noqa: F401 - it refuses a Python that is too old for the rest
