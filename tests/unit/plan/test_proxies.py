"""Which requests go through a forward proxy, by the rules of Go's httpproxy."""

import pytest

from plan.network import is_used

URL = "https://registry.example.com"


@pytest.mark.parametrize(
    ("url", "no_proxy"),
    [
        (URL, []),
        (URL, ["example.org", "", "10.0.0.0/8"]),
        (URL, ["ample.com"]),
        (URL, [".registry.example.com"]),
        (URL, ["example.com:8443"]),
        ("https://10.1.2.3", ["10.2.0.0/16", "example.com"]),
        ("https://10.1.2.3:8443", ["10.1.2.3:443"]),
    ],
)
def test_through_the_proxy(url, no_proxy):
    assert is_used(url, no_proxy)


@pytest.mark.parametrize(
    ("url", "no_proxy"),
    [
        (URL, ["registry.example.com"]),
        (URL, ["example.org", " Example.COM "]),
        (URL, [".example.com"]),
        (URL, ["*.example.com"]),
        (URL, ["example.com:443"]),
        (URL, ["*"]),
        ("https://10.1.2.3", ["10.0.0.0/8"]),
        ("https://10.1.2.3", ["10.1.2.3"]),
        ("https://10.1.2.3:8443", ["10.1.2.3:8443"]),
        ("https://[fd00::1]", ["fd00::/8"]),
        ("http://localhost:5000", []),
        ("http://127.0.0.1:5000", []),
        ("http://[::1]:5000", []),
    ],
)
def test_not_through_the_proxy(url, no_proxy):
    assert not is_used(url, no_proxy)


def test_what_is_not_a_url_is_an_error():
    with pytest.raises(ValueError, match="http or https"):
        is_used("registry.example.com", [])
