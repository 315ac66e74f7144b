"""JSON from other programs."""

import pytest

from plan import foreign_json


def test_json_is_read():
    assert foreign_json.read('{"a": [1, null]}') == foreign_json.read(b'{"a": [1, null]}')
    assert foreign_json.read("3") == 3


@pytest.mark.parametrize("text", ["", "{", b"\xff\xfe\xfd", "[" * 200_000, '{"a":' * 200_000])
def test_anything_else_is_one_kind_of_error(text):
    with pytest.raises(ValueError, match=r"."):
        foreign_json.read(text)
