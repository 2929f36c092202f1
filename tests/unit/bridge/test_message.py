"""A message's bytes: kombu's own serialisation, in headers that pika can write."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import kombu
import msgspec
import pika
import pika.connection
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.compression import encoders

from bridge import InvalidOption
from bridge.message import Message, encode

COMPRESSIONS = [None, "gzip", "bzip2", "lzma", "zstd"]


def encoded(body: Any = (), **changes: Any) -> Message:
    options: dict[str, Any] = {
        "exchange": "windmail",
        "routing_key": "celery",
        "serializer": "json",
        "compression": None,
        "headers": {},
        "delivery_mode": 2,
        "mandatory": True,
        "properties": {},
    }
    return encode(body, **{**options, **changes})


class Channel:
    """What kombu's producer needs of a channel; keeps what it is given."""

    is_open = True

    def prepare_message(
        self, body: Any, priority: int, type_: str, encoding: str, headers: Any, properties: Any
    ) -> None:
        self.body = body if isinstance(body, bytes) else body.encode()
        self.properties = (type_, encoding, headers)

    def basic_publish(self, message: None, **options: Any) -> None:
        pass


def published_by_kombu(body: Any, serializer: str, compression: str | None) -> Channel:
    channel = Channel()
    producer = kombu.Producer(channel)
    producer.publish(body, serializer=serializer, compression=compression)
    return channel


def test_all_compressions_that_kombu_offers_here_are_tried() -> None:
    assert len(COMPRESSIONS) == len(encoders()) + 1


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("serializer", ["json", "msgpack"])
@pytest.mark.parametrize(
    "body", [[[4, 4], {}, {"chain": None}], [["你好"], {"to": "é" * 5000}, {}]]
)
def test_the_bytes_are_those_that_kombu_writes(
    body: Any, serializer: str, compression: str | None
) -> None:
    theirs = published_by_kombu(body, serializer, compression)

    ours = encoded(body, serializer=serializer, compression=compression)

    properties = ours.properties
    assert ours.body == theirs.body
    assert theirs.properties == (
        properties.content_type,
        properties.content_encoding,
        properties.headers,
    )


scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20)
bodies = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(bodies)
def test_a_json_body_is_utf_8_and_reads_back(body: Any) -> None:
    message = encoded(body)

    assert message.properties.content_encoding == "utf-8"
    assert msgspec.json.decode(message.body) == body


@given(st.dictionaries(st.text(max_size=20), st.lists(scalars, max_size=3).map(tuple) | scalars))
def test_headers_are_written_and_read_back_by_pika(headers: dict[str, Any]) -> None:
    properties = encoded(headers=headers).properties

    wire = b"".join(properties.encode())

    read = pika.BasicProperties().decode(wire)
    assert read.headers == {
        name: list(value) if isinstance(value, tuple) else value for name, value in headers.items()
    }


def test_tuples_and_whole_floats_in_headers_are_translated_at_any_depth() -> None:
    message = encoded(headers={"timelimit": (2.0, None), "stamps": {"a": (1, (2.0,))}})

    assert message.properties.headers == {"timelimit": [2, None], "stamps": {"a": [1, [2]]}}


@pytest.mark.parametrize("value", [1.5, (1.5, None), {"deep": [0.1]}, float("nan")])
def test_a_fraction_in_a_header_is_refused_by_the_headers_name(value: Any) -> None:
    with pytest.raises(InvalidOption) as caught:
        encoded(headers={"timelimit": value})

    assert caught.value.option == "timelimit"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x" * 256, 1),
        (5, 1),
        ("number", 2**63),
        ("number", -(2**63) - 1),
        ("deep", {"list": [2**64]}),
        ("deep", {"x" * 256: 1}),
        ("text", "\ud800"),
        ("thing", object()),
    ],
)
def test_a_header_that_amqp_cannot_write_is_refused_by_its_name(name: Any, value: Any) -> None:
    with pytest.raises(InvalidOption) as caught:
        encoded(headers={"good": 2**63 - 1, name: value}, properties={"correlation_id": "a"})

    assert caught.value.option == str(name)


@pytest.mark.parametrize(
    ("option", "changes"),
    [
        ("exchange", {"exchange": "x" * 256}),
        ("routing_key", {"routing_key": "x" * 256}),
        ("routing_key", {"routing_key": 5}),
        ("serializer", {"serializer": "nope"}),
        ("compression", {"compression": "nope"}),
        ("delivery_mode", {"delivery_mode": "never"}),
        ("task_id", {"properties": {"correlation_id": "x" * 256}}),
        ("priority", {"properties": {"priority": 300}}),
        ("reply_to", {"properties": {"reply_to": 5}}),
    ],
)
def test_what_amqp_cannot_write_is_refused_by_the_options_name(
    option: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(InvalidOption) as caught:
        encoded(**changes)

    assert caught.value.option == option


@pytest.mark.parametrize("length", [0, 255])
def test_short_strings_have_255_octets(length: int) -> None:
    text = "x" * length

    message = encoded(exchange=text, routing_key=text, properties={"correlation_id": text})

    assert message.frames(1, 100)


def test_the_callers_headers_are_not_changed() -> None:
    headers = {"task": "add"}

    encoded(headers=headers, compression="gzip")

    assert headers == {"task": "add"}


def test_properties_that_amqp_does_not_know_are_left_out() -> None:
    message = encoded(properties={"correlation_id": "a", "reply_to": "b", "retry": True, "x": 1})

    assert message.properties.correlation_id == "a"
    assert message.properties.reply_to == "b"
    assert not hasattr(message.properties, "retry")


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 1000])
def test_the_frames_are_those_that_pika_writes(size: int) -> None:
    message = encoded("x" * size, headers={"task": "add"}, properties={"correlation_id": "a"})
    written: list[bytes] = []
    theirs = Mock(_body_max_length=100, _output_marshaled_frames=written.extend)
    method = pika.spec.Basic.Publish(exchange="windmail", routing_key="celery", mandatory=True)

    pika.connection.Connection._send_message(theirs, 7, method, (message.properties, message.body))

    assert message.frames(7, 100) == b"".join(written)


def test_a_message_for_a_second_publish_says_so_and_is_the_same_otherwise() -> None:
    message = encoded([1], headers={"task": "add"}, properties={"correlation_id": "a"})

    again = message.again()

    assert again.properties.headers == {"task": "add", "published_again": True}
    assert again.properties.correlation_id == again.correlation_id == "a"
    assert (again.body, again.exchange, again.mandatory) == (message.body, "windmail", True)
    assert message.properties.headers == {"task": "add"}
