"""The message of an answer that refuses something: text for people; for web pages, the heading."""

import time

import pytest

from ops.registry.error_text import error_message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<html><title>Log\n in &amp; go</title>", 'a web page, "Log in & go"'),
        ("<!doctype html><body><H1 class=a>Down</H1>", 'a web page, "Down"'),
        ("<html><title></title>", "a web page"),
        ("\ufeff\r\n<html><title>Down</title>", 'a web page, "Down"'),
        (f"<html>{' ' * 5000}<title>late</title>", "a web page"),
        ("<b>bold</b>", "<b>bold</b>"),
    ],
)
def test_the_message_of_a_page_is_its_heading(text, message):
    assert error_message(text) == message


@pytest.mark.parametrize(
    ("text", "message"),
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
def test_json_without_text_has_no_message(text, message):
    assert error_message(text) == message


@pytest.mark.parametrize("piece", ["<h1>", "<title>", "<h1 ", "<", " ", "</h1", "<h1>&"])
def test_any_page_takes_no_time(piece):
    page = "<html>" + piece * (256 * 1024 // len(piece))
    began = time.process_time()
    error_message(page)
    assert time.process_time() - began < 1
