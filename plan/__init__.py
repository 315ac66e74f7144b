"""Pure decisions: frozen dataclasses in, frozen dataclasses out.

Nothing here imports pulumi or docker, reads a file, opens a socket or looks at the environment
(`tests/unit/plan/test_purity.py` blocks them). Whatever depends on the machine, such as the address
of Docker's bridge, is an argument.
"""
