import json
import shlex

from dev import banner


def test_the_curl_line_is_one_shell_command_with_a_json_body() -> None:
    words = shlex.split(banner.curl_line("http://127.0.0.1:8888", with_key=False))

    assert words[:4] == ["curl", "-X", "POST", "http://127.0.0.1:8888/emails?wait=10"]
    assert json.loads(words[words.index("-d") + 1]) == {
        "to": "you@example.com",
        "subject": "Hello",
        "text": "It works.",
    }


def test_an_ipv6_address_is_bracketed() -> None:
    assert banner.http_url("::1", 80) == "http://[::1]:80"


def test_the_block_shows_every_row_and_where_the_mail_lies() -> None:
    text = banner.block(
        [("Web", "http://here"), ("Flower", "there")], "http://here", "var/mailbox", with_key=False
    )

    assert "  Web     http://here\n  Flower  there\n" in text
    assert "var/mailbox/new/" in text


def test_the_block_names_no_folder_without_a_mailbox() -> None:
    assert "arrives in" not in banner.block([("Web", "x")], "http://here", None, with_key=False)


def test_once_a_key_was_made_the_block_shows_how_to_make_one_and_where_it_goes() -> None:
    making, sending = banner.block([("Web", "x")], "http://here", None, with_key=True).split("\n")[
        -3:-1
    ]

    assert making.strip().startswith('WINDMAIL_KEY=$(make -s key ARGS="create ')
    assert '-H "Authorization: Bearer $WINDMAIL_KEY"' in sending
    assert "Authorization" not in banner.curl_line("http://here", with_key=False)
