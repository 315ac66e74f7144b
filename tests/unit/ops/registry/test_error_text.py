"""What is told of an answer that refuses something: words for people, of web pages the heading."""

import time

import pytest

from ops.registry.error_text import words


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("<html><title>Log\n in &amp; go</title>", 'a web page, "Log in & go"'),
        ("<!doctype html><body><H1 class=a>Down</H1>", 'a web page, "Down"'),
        ("<html><title></title>", "a web page"),
        ("\ufeff\r\n<html><title>Down</title>", 'a web page, "Down"'),
        (f"<html>{' ' * 5000}<title>late</title>", "a web page"),
        ("<b>bold</b>", "<b>bold</b>"),
    ],
)
def test_a_page_by_its_heading(page, said):
    assert words(page) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", ""),
        ("[]", ""),
        ("true", ""),
        ('{"errors": [{"code": "", "detail": {}}]}', ""),
        ('{"status": 401}', ""),
        ('{"reason": ["gone"]}', '{"reason": ["gone"]}'),
        ('"gone"', '"gone"'),
        ("", ""),
    ],
)
def test_json_that_says_nothing_is_no_words(text, said):
    assert words(text) == said


@pytest.mark.parametrize("piece", ["<h1>", "<title>", "<h1 ", "<", " ", "</h1", "<h1>&"])
def test_a_page_that_is_anything_takes_no_time(piece):
    page = "<html>" + piece * (256 * 1024 // len(piece))
    began = time.process_time()
    words(page)
    assert time.process_time() - began < 1
