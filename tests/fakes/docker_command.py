"""A fake `docker` command, for the few commands with which the set-up handles images.

It keeps images in a JSON file, pulls what the test says can be pulled, and refuses every command
that it does not implement. Its answers have the form of docker 20.10's.
"""

import json
import sys
from pathlib import Path

REFUSED = (
    "Error response from daemon: toomanyrequests: You have reached your unauthenticated pull rate "
    "limit. https://www.docker.com/increase-rate-limit"
)
SCRIPT = """\
#!/bin/sh
exec '{python}' '{program}' '{state}' "$@"
"""


def install(folder: Path, *, can_be_pulled: tuple[str, ...]) -> Path:
    """Put it into a folder of PATH; returns the file with its state."""
    state = folder / "fake-docker.json"
    state.write_text(json.dumps({"can_be_pulled": can_be_pulled, "images": {}, "asked": []}))
    command = folder / "docker"
    command.write_text(SCRIPT.format(python=sys.executable, program=__file__, state=state))
    command.chmod(0o755)
    return state


def main(state_file: Path, arguments: list[str]) -> str:
    """Answer one command; if that is impossible, exit with docker's own message."""
    state = json.loads(state_file.read_text())
    state["asked"].append(arguments)
    try:
        return _answer(state, arguments)
    finally:
        state_file.write_text(json.dumps(state))


def _answer(state: dict, arguments: list[str]) -> str:
    images = state["images"]
    match arguments:
        case ["image", "inspect", "--format", form, reference]:
            if reference not in images:
                sys.exit(f"Error: No such image: {reference}")
            env = images[reference]
            tags = [name for name in images if images[name] == env]
            known = {"{{.Id}}": "sha256:0", "{{.Config.Env}}": env, "{{.RepoTags}}": tags}
            return str(known[form]).replace("'", "").replace(",", "")
        case ["pull", "--quiet", reference]:
            if reference not in state["can_be_pulled"]:
                sys.exit(REFUSED)
            images[reference] = [f"FROM={reference}"]
            return f"docker.io/library/{reference}"
        case ["tag", source, target]:
            images[target] = images[source]
            return ""
        case ["import", *options, "-", reference]:
            sys.stdin.buffer.read()
            images[reference] = [word[4:] for word in options if word.startswith("ENV ")]
            return "sha256:0"
        case _:
            sys.exit(f"the fake docker does not implement: {' '.join(arguments)}")


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), sys.argv[2:]))
