"""How the real engine reads YAML, recorded in tests/fixtures/engine_yaml.json.

`python -m tests.engine_answers` records it again, with the `pulumi` on PATH; tests/real/caches
compares the record with that engine, tests/unit/plan compares this project's own reading with the
record.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

FIXTURE = Path(__file__).parent / "fixtures" / "engine_yaml.json"
STACK = "asked"
PROJECT = "talos-cache"
# Each is the value of a key.
SCALARS = (
    *("yes", "no", "on", "off", "y", "n", "Yes", "true", "True", "TRUE", "tRUE", "false", "~"),
    *("", "null", "Null", "nULL", "=", "<<", "-1", "+5", "0", "00", "09", "0777", "0o17", "-0o17"),
    *("0O17", "0x1F", "+0x1f", "0x1G", "0x", "0b11", "0B11", "1_000", "1__0", "1_", "_1", "1_0.5"),
    *("1.5", "1.0", "-0.0", "5.", ".5", "+.5", ".5_0", ".", "+", "1e3", "1.e5", "1.25e+3", "1e21"),
    *("1e400", "10000000000000000000000", "18446744073709551615", "18446744073709551616"),
    *("27:40", "1:2:3", "2020-01-02", "2020-1-2", "2020-13-45", "20-01-02", "2020-01-02 03:04:05"),
    *("2020-01-02 03:04:05.120", "2020-01-02T03:04:05", "2001-12-15T02:59:43.1Z"),
    *("2001-12-15t02:59:43+02:30", "2001-12-15 02:59:43 +2", "2001-12-15T02:59:99Z"),
    *('"1.5"', '"yes"', "'0x10'", '"2020-01-02"', "!!str 5", "!!str yes", '!!int "5"', "!!float 5"),
    *("!!int abc", "!!int 1.5", "!!bool yes", "!!null x", "!!null ''", "!!timestamp soon"),
    *("!!float abc", ".inf", "-.inf", ".nan", "9" * 5000, "5000:", "[1, [2, ~]]", "{a: {b: yes}}"),
    *("{a: 1, a: 2}", '{a: 1, "a": 2}', "{<<: {a: 1, b: 2}, b: 3}", "{b: 3, <<: {a: 1, b: 2}}"),
    *("{<<: [{a: 1}, {a: 2, b: 2}]}", '{"<<": {a: 1}}', "{<<: 5}", "{<<: {a: 1}, <<: {b: 1}}"),
    *("&x {a: *x}", "[&x 1, *x]", "*x", "{? [a] : 1}"),
)
# Each is a whole file.
FILES = {
    "empty": "",
    "without config": "encryptionsalt: v1:x\n",
    "config without keys": "config:\n",
    "config that is a list": "config: [a]\n",
    "config that is text": "config: text\n",
    "a list": "- a\n",
    "text": "text\n",
    "with and without namespace": "config:\n  prefix: a\n  talos-cache:basePort: 5001\n",
    "older namespace": "config:\n  talos-cache:config:prefix: a\n",
    "one key quoted and not": 'config:\n  "talos-cache:prefix": a\n  talos-cache:prefix: b\n',
    "other namespaces": "config:\n  talos_cache:prefix: a\n  aws:region: b\n",
    "a key without a value": "config:\n  talos-cache:prefix:\n",
    "windows": "config:\r\n  talos-cache:prefix: a\r\n",
    "a tab": "config:\n\ttalos-cache:prefix: a\n",
}
BYTES = {
    "utf-8 with a mark": "utf-8-sig",
    "utf-16 with a mark": "utf-16",
    "latin-1": "latin-1",
}
BYTES_TEXT = "config:\n  talos-cache:prefix: ä\n"


def kept() -> dict[str, dict[str, object]]:
    """The recorded answers."""
    content: dict[str, dict[str, object]] = json.loads(FIXTURE.read_text())
    return content


def answers() -> dict[str, dict[str, object]]:
    """Text -> how the engine reads it, or why it refuses it."""
    with tempfile.TemporaryDirectory() as name:
        engine = _Engine(Path(name))
        alone = {text: engine.scalars([text]) for text in SCALARS}
        taken = {text: answer[0] for text, answer in alone.items() if isinstance(answer, list)}
        refused = {text: answer for text, answer in alone.items() if text not in taken}
        return {"taken": taken, "refused": refused, "files": _files(engine)}


def answers_again() -> dict[str, dict[str, object]]:
    """The same with fewer runs of the engine: one for all texts that it accepted before."""
    before = kept()
    with tempfile.TemporaryDirectory() as name:
        engine = _Engine(Path(name))
        texts = list(before["taken"])
        values = engine.scalars(texts)
        taken = dict(zip(texts, values, strict=True)) if isinstance(values, list) else {"": values}
        refused = {text: engine.scalars([text]) for text in before["refused"]}
        return {"taken": taken, "refused": refused, "files": _files(engine)}


def file_of(scalars: Sequence[str]) -> bytes:
    """A stack file with these as values."""
    lines = "".join(f"    a{number}: {text}\n" for number, text in enumerate(scalars))
    return f"config:\n  talos-cache:cluster:\n{lines}".encode()


def contents() -> dict[str, bytes]:
    """Every whole file that the engine reads."""
    encoded = {name: BYTES_TEXT.encode(code) for name, code in BYTES.items()}
    return {name: text.encode() for name, text in FILES.items()} | encoded


def _files(engine: "_Engine") -> dict[str, object]:
    return {name: engine.config(content) for name, content in contents().items()}


class _Engine:
    """A project with this one's name, without its defaults."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "Pulumi.yaml").write_text(f"name: {PROJECT}\nruntime: python\n")
        self._stack = folder / f"Pulumi.{STACK}.yaml"
        state = folder / "state"
        state.mkdir()
        self._env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")},
            "PULUMI_HOME": str(folder / "home"),
            "PULUMI_BACKEND_URL": f"file://{state}",
            "PULUMI_CONFIG_PASSPHRASE": "asked",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        done = self._run("stack", "init", STACK)
        assert done.returncode == 0, done.stderr

    def config(self, content: bytes) -> object:
        """The configuration in a stack file, as the engine passes it to a program."""
        self._stack.write_bytes(content)
        done = self._run("config", "--json", "--stack", STACK)
        if done.returncode != 0:
            return {"refused": done.stderr.strip().splitlines()[-1].strip()}
        return {key: entry["value"] for key, entry in json.loads(done.stdout).items()}

    def scalars(self, texts: Sequence[str]) -> object:
        """The value of each text; or why the engine refuses them."""
        answer = self.config(file_of(texts))
        if isinstance(answer, dict) and "refused" in answer:
            return answer["refused"]
        value = json.loads(answer["talos-cache:cluster"])
        return [value[f"a{number}"] for number in range(len(texts))]

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=self._folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )


if __name__ == "__main__":
    FIXTURE.write_text(json.dumps(answers(), indent=1, ensure_ascii=False) + "\n")
    sys.stdout.write(f"{FIXTURE}\n")
