"""JSON from elsewhere."""

import pytest

from plan import foreign_json


def test_what_is_json_is_read():
    assert foreign_json.read('{"a": [1, null]}') == foreign_json.read(b'{"a": [1, null]}')
    assert foreign_json.read("3") == 3


@pytest.mark.parametrize("text", ["", "{", b"\xff\xfe\xfd", "[" * 200_000, '{"a":' * 200_000])
def test_whatever_else_it_is_there_is_one_error(text):
    with pytest.raises(ValueError, match=r"."):
        foreign_json.read(text)
