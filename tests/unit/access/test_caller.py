"""What a key's owner may do, and how a key is made."""

from __future__ import annotations

import pytest

from access import Caller, NotPermitted, Scope, SenderRefused, new_key


def test_the_scope_admin_includes_the_others() -> None:
    admin = Caller(owner="a", scopes=frozenset({Scope.ADMIN}))
    sender = Caller(owner="b", scopes=frozenset({Scope.SEND}))

    for scope in Scope:
        admin.need(scope)
    sender.need(Scope.SEND)
    for scope in (Scope.READ, Scope.ADMIN):
        with pytest.raises(NotPermitted, match=scope):
            sender.need(scope)
    assert admin.sees is None


@pytest.mark.parametrize(
    "sender", ["ann@other.example", "ann@sub.a.example", "a.example <x@b.example>", "x@aa.example"]
)
def test_a_sender_from_another_domain_is_refused_by_its_name(sender: str) -> None:
    caller = Caller(owner="b", scopes=frozenset(), domains=frozenset({"a.example"}))
    caller.check_sender("Ann <ann@A.example>")

    with pytest.raises(SenderRefused, match=sender.rpartition("@")[2].rstrip(">")):
        caller.check_sender(sender)


def test_a_key_is_stored_as_a_hash_and_never_made_twice() -> None:
    made = [new_key() for _ in range(100)]

    assert len({key.text for key in made}) == len({key.id for key in made}) == 100
    assert all(len(key.hash) == 32 and len(key.text) > 50 for key in made)
