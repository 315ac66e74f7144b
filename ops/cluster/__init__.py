"""What the cluster command of a stack runs: create, update and delete one Talos cluster.

`components/talos_cluster.py` has the engine run `python -m ops.cluster`; the plan comes in by the
environment and standard input (see `plan/talos/cluster_transport.py`), and what was made goes out
as JSON on standard output (see `record.py`), which the next run gets back in PULUMI_COMMAND_STDOUT.
"""
