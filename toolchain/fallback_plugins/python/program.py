"""Runs one Pulumi program: the language host's child process, in the program's environment.

It is started as a script and imports nothing from this project, since the program's virtual
environment may have only Pulumi. Its job comes as JSON on stdin.
"""

import asyncio
import inspect
import json
import logging
import os
import runpy
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

# The error is on the user's screen already; the engine adds nothing.
EXIT_REPORTED = 32
# The SDK makes one thread wait for each resource call.
THREADS_PER_PARALLEL_STEP = 4


def main() -> int:
    """Read the job and run its program; returns the exit code."""
    job = json.load(sys.stdin)
    _configure(job)
    # A failed program leaves tasks that are never awaited; asyncio's warnings help no user.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    return _run(job["program"], job["settings"]["parallel"])


def _configure(job: dict[str, Any]) -> None:
    from pulumi import runtime

    settings = dict(job["settings"])
    if "root_directory" in inspect.signature(runtime.reset_options).parameters:
        settings["root_directory"] = job["root_directory"]
    runtime.reset_options(**settings)
    runtime.set_all_config(job["config"], job["config_secret_keys"])


def _run(program: str, parallel: int) -> int:
    from pulumi import log, runtime

    def run_program() -> None:
        runpy.run_path(program, run_name="__main__")

    # Instead of this file's folder, whose modules the program must not see.
    sys.path[0] = str(Path(program).parent)
    sys.argv = [program]
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    threads = max(parallel, 1) * THREADS_PER_PARALLEL_STEP
    loop.set_default_executor(ThreadPoolExecutor(max_workers=threads))
    try:
        loop.run_until_complete(runtime.run_in_stack(run_program))
    except Exception as error:
        message = _explain(error, program)
        if message:
            log.error(message)
        return EXIT_REPORTED
    finally:
        _drop_unfinished(loop)
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _explain(error: BaseException, program: str) -> str:
    """The message for the user: a `RunError`'s, or a traceback; none if the engine is gone."""
    import grpc
    from pulumi import RunError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RunError):
            return str(cause)
        cause = cause.__cause__
    if isinstance(error, grpc.RpcError):
        if error.code() == grpc.StatusCode.UNAVAILABLE:
            return ""
        return str(error.details())
    own_part = error.with_traceback(_from_program_on(error.__traceback__, program))
    shown = "".join(traceback.format_exception(own_part))
    return f"Program failed with an unhandled exception:\n{shown}"


def _from_program_on(trace: TracebackType | None, program: str) -> TracebackType | None:
    """The traceback from the program's frame on; all of it if the program is not in it."""
    part = trace
    while part is not None:
        if part.tb_frame.f_code.co_filename == program:
            return part
        part = part.tb_next
    return trace


def _drop_unfinished(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
        with suppress(BaseException):
            loop.run_until_complete(task)
    with suppress(Exception):
        loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
