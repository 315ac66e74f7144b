"""The command that creates, updates and deletes one Talos cluster of a stack.

`components/talos_cluster.py` has the engine run `python -m ops.cluster`. The plan arrives in the
environment and on standard input (see `plan/talos/cluster_transport.py`). The result is printed as
JSON on standard output (see `record.py`); the next run gets it back in PULUMI_COMMAND_STDOUT.
"""
