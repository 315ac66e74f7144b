"""The product keeps its shape: short files, short functions, and nothing written twice.

Two places are written twice if eight lines of theirs differ in names, strings and numbers at most.
Only code in functions counts: a table or a dataclass looks like any other. Of that code, imports,
comments, docstrings, blank lines and lines of text or punctuation alone don't count.
"""

import ast
import io
import keyword
import subprocess
import tokenize
from collections import defaultdict
from itertools import combinations
from textwrap import dedent

import pytest

from host.paths import ROOT

FILE_LINES = 400
FUNCTION_LINES = 60
SHARED_LINES = 8
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def product():
    """Name -> text of each of the product's Python files."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "*.py"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    return {
        name: (ROOT / name).read_text()
        for name in names
        if name and not name.startswith("tests/") and (ROOT / name).exists()
    }


def functions(text):
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, FUNCTIONS)]


def lines_of(node):
    return range(node.lineno, node.end_lineno + 1)


def long_functions(text):
    return [node.name for node in functions(text) if len(lines_of(node)) > FUNCTION_LINES]


def counted_lines(text):
    """Numbers of the lines in functions, without imports and docstrings."""
    counted, passed_over = set(), set()
    for function in functions(text):
        counted.update(lines_of(function))
        for node in ast.walk(function):
            is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if is_text or isinstance(node, ast.Import | ast.ImportFrom):
                passed_over.update(lines_of(node))
    return counted - passed_over


def normalised(token):
    if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
        return "name"
    kinds = {tokenize.STRING: '""', tokenize.NUMBER: "0", tokenize.COMMENT: ""}
    return kinds.get(token.type, token.string.strip())


def shapes(text):
    """(number, shape) of each line that counts."""
    lines = defaultdict(list)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        lines[token.start[0]].append(normalised(token))
    counted = counted_lines(text)
    return [
        (number, " ".join(filter(None, parts)))
        for number, parts in sorted(lines.items())
        if number in counted and any(part.isalnum() for part in parts)
    ]


def written_twice(sources):
    """ "file:line" of both places, for each pair of places that share lines of the same shape."""
    places = defaultdict(list)
    for name, text in sources.items():
        lines = shapes(text)
        for start in range(len(lines) - SHARED_LINES + 1):
            run = lines[start : start + SHARED_LINES]
            places[tuple(shape for _, shape in run)].append((name, start, run[0][0]))
    return [
        f"{name}:{line} ~ {other_name}:{other_line}"
        for found in places.values()
        for (name, start, line), (other_name, other, other_line) in combinations(found, 2)
        if name != other_name or other - start >= SHARED_LINES
    ]


def test_no_file_is_too_long():
    too_long = [name for name, text in product().items() if text.count("\n") > FILE_LINES]
    assert too_long == [], f"over {FILE_LINES} lines"


def test_no_function_is_too_long():
    too_long = [
        f"{name}: {one}" for name, text in product().items() for one in long_functions(text)
    ]
    assert too_long == [], f"over {FUNCTION_LINES} lines"


def test_nothing_is_written_twice():
    assert written_twice(product()) == [], f"{SHARED_LINES} lines of the same shape"


ONE = """
    def total(prices):
        result = 0
        for price in prices:
            if price < 0:
                raise ValueError("negative")
            result += price
        print(result)
        return result
"""
SAME_SHAPE = """
    import sys

    def length(words):
        '''Counts letters.'''
        count = 1

        for word in words:  # each of them
            if word < 3:
                raise TypeError("no letter")
            count += word
        show(count)
        return count
"""


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (SAME_SHAPE, ["one.py:2 ~ other.py:4"]),
        (SAME_SHAPE.replace("+=", "-="), []),
        (SAME_SHAPE.replace("show(count)", ""), []),
    ],
    ids=["other names", "another operator", "seven lines"],
)
def test_the_same_shape_is_recognised(other, found):
    assert written_twice({"one.py": dedent(ONE), "other.py": dedent(other)}) == found
