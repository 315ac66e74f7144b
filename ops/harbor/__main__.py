"""`python -m ops.harbor create | update | delete`: see ops.harbor.command.

The plan arrives in the environment; its secret part is one line on standard input.
"""

import sys

from host import entry_point
from ops.harbor.command import COMMANDS, main

if __name__ == "__main__":
    match sys.argv[1:]:
        case [command] if command in COMMANDS:
            sys.exit(entry_point.run(command, lambda: main(command)))
        case _:
            sys.exit(f"usage: python -m ops.harbor {' | '.join(COMMANDS)}")
