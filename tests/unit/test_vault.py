"""_vault.py and crypto.py: what is sealed opens to the same text, at its own place, with its own key."""

from __future__ import annotations

import base64
import os
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgflow import EncodingError, SealError, UsageError, ValueCodec
from pgflow._vault import PLAIN, SEALED, Vault, load_value_codec, shown
from pgflow.codec import Where, encode, split_object
from pgflow.crypto import AesGcmCodec
from pgflow.records import RawJson

OLD, NEW = os.urandom(32), os.urandom(32)
HERE, THERE = Where("f", "a"), Where("f", "b")
VAULT = Vault(AesGcmCodec({"k1": OLD}))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(value=JSON, whole=st.booleans())
def test_what_is_sealed_opens_to_the_same_text(value: Any, whole: bool) -> None:
    text = encode(value)
    sealed = VAULT.seal(text, HERE, whole=whole)
    stored = orjson.dumps(orjson.loads(sealed), option=orjson.OPT_INDENT_2)  # jsonb writes it anew
    opened = VAULT.open(stored, HERE)
    assert opened == text.encode()
    if isinstance(value, list) and not whole:
        items = orjson.loads(sealed)
        assert isinstance(items, list)
        assert len(items) == len(value)
        assert all(list(item) == [SEALED] for item in items)
    else:
        assert list(orjson.loads(sealed)) == [SEALED]


def test_each_value_has_a_nonce_of_its_own() -> None:
    assert len({VAULT.seal('"same"', HERE) for _ in range(100)}) == 100


def test_the_stored_form() -> None:
    sealed = orjson.loads(VAULT.seal('"secret"', HERE))[SEALED]
    version, key_id, text = sealed.split(":")
    assert (version, key_id) == ("v1", "k1")
    assert len(base64.b64decode(text)) == 12 + len('"secret"') + 16


@given(value=JSON)
def test_objects_are_split_as_they_are_written(value: Any) -> None:
    text = encode({"a": value, 'b"\\': 1.10, "": [value]})
    fields = split_object(text)
    assert list(fields) == ["a", 'b"\\', ""]
    assert (
        b"{" + b",".join(orjson.dumps(k) + b":" + v for k, v in fields.items()) + b"}"
        == text.encode()
    )


def test_what_is_plain_is_read_as_it_is() -> None:
    for text in (
        b"1",
        b'{"a": [1.10]}',
        b"[1, null]",
        b'{"say": "pgflow:sealed"}',
        b'["pgflow:sealed"]',
    ):
        assert VAULT.open(text, HERE).parse() == orjson.loads(text)
        assert PLAIN.open(text, HERE) == text


def test_an_array_may_be_partly_sealed() -> None:
    sealed = VAULT.seal("5", HERE)
    assert VAULT.open(f"[null, {sealed}, 1.10]", HERE) == b"[null,5,1.10]"


def test_inputs_of_tasks_are_opened_by_where_they_come_from() -> None:
    origin, a, b = Where("f"), Where("f", "a"), Where("f", "b")
    of_run = RawJson(VAULT.seal("[1]", origin).encode())
    assert VAULT.open_task_input(of_run, Where("f", "x"), (), item=True) == b"[1]"
    item = RawJson(VAULT.seal("1", a).encode())
    assert VAULT.open_task_input(item, Where("f", "x"), ("a",), item=True) == b"1"
    both = f'{{"a": {VAULT.seal("[1,2]", a)}, "b": {VAULT.seal("3", b)}, "c": 1.10}}'
    opened = VAULT.open_task_input(
        RawJson(both.encode()), Where("f", "x"), ("a", "b", "c"), item=False
    )
    assert opened == b'{"a":[1,2],"b":3,"c":1.10}'


def test_a_value_cannot_be_moved() -> None:
    sealed = VAULT.seal("5", HERE)
    for place in (THERE, Where("f"), Where("g", "a")):
        with pytest.raises(SealError, match=r"key 'k1' .* does not open the value \(InvalidTag\)"):
            VAULT.open(sealed, place)


def test_a_changed_value_does_not_open() -> None:
    head, _, text = orjson.loads(VAULT.seal("5", HERE))[SEALED].rpartition(":")
    data = bytearray(base64.b64decode(text))
    data[14] ^= 1
    changed = orjson.dumps({SEALED: f"{head}:{base64.b64encode(data).decode()}"})
    with pytest.raises(SealError, match="does not open the value"):
        VAULT.open(changed, HERE)


def test_keys_rotate() -> None:
    both = Vault(AesGcmCodec({"k1": OLD, "k2": NEW}))
    assert both.open(VAULT.seal("5", HERE), HERE) == b"5"
    assert '"v1:k2:' in both.seal("5", HERE)
    with pytest.raises(SealError, match="sealed with key 'k2', which this process does not have"):
        VAULT.open(both.seal("5", HERE), HERE)
    with pytest.raises(SealError, match="key 'k1' of this process does not open"):
        Vault(AesGcmCodec({"k1": NEW})).open(VAULT.seal("5", HERE), HERE)


def test_without_a_codec_sealed_values_are_refused() -> None:
    with pytest.raises(SealError, match="sealed with key 'k1', and no value codec") as caught:
        PLAIN.open(VAULT.seal("[5]", HERE), HERE)
    assert (caught.value.flow, caught.value.step) == ("f", "a")
    assert (
        shown(PLAIN, RawJson(VAULT.seal("5", HERE).encode()), HERE).parse().startswith("[sealed: ")
    )
    assert PLAIN.seal("5", HERE) == "5"


@pytest.mark.parametrize(
    "sealed",
    ["", "v2:k1:AAAA", "v1:k1", "v1::AAAA", "v1:k 1:AAAA", "v1:k1:!!", "v1:k1:AAAA", "v1:k1:"],
)
def test_malformed_sealed_values_are_refused(sealed: str) -> None:
    with pytest.raises(SealError):
        VAULT.open(orjson.dumps({SEALED: sealed}), HERE)


class Broken:
    """A codec that fails in every way."""

    key_id = "broken"

    def encode(self, value: bytes, context: bytes) -> bytes:
        raise RuntimeError(value)

    def decode(self, value: bytes, context: bytes, key_id: str) -> bytes:
        raise SystemError(value)


def test_a_codec_that_raises_is_a_clear_error() -> None:
    assert isinstance(Broken(), ValueCodec)
    with pytest.raises(EncodingError, match=r"could not seal it \(RuntimeError\)"):
        Vault(Broken()).seal("5", HERE)
    with pytest.raises(SealError, match=r"\(SystemError\)"):
        Vault(Broken()).open('{"pgflow:sealed": "v1:k:AAAA"}', HERE)


@pytest.mark.parametrize("key_id", ["", "a:b", "a b", "x" * 65, "ä"])
def test_the_id_of_a_key_is_checked(key_id: str) -> None:
    with pytest.raises(UsageError, match="is not an id of a key"):
        Vault(AesGcmCodec({key_id: NEW}))


@pytest.mark.parametrize("keys", [{}, {"k": b"short"}, {"k": b"x" * 31}])
def test_keys_are_checked(keys: dict[str, bytes]) -> None:
    with pytest.raises(UsageError) as caught:
        AesGcmCodec(keys)
    assert "short" not in str(caught.value)


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = base64.b64encode(OLD).decode(), base64.b64encode(NEW).decode()
    monkeypatch.setenv("PGFLOW_KEYS", f"k1:{one}, k2:{two}")
    assert AesGcmCodec.from_env().key_id == "k2"
    assert Vault(AesGcmCodec.from_env()).open(VAULT.seal("5", HERE), HERE) == b"5"
    assert one not in repr(AesGcmCodec.from_env())
    for text in ("", "k1:!not", "k1:" + one[:-4]):
        monkeypatch.setenv("PGFLOW_KEYS", text)
        with pytest.raises(UsageError) as caught:
            AesGcmCodec.from_env()
        assert one[:10] not in str(caught.value)


def make() -> AesGcmCodec:
    return AesGcmCodec({"made": NEW})


CODEC = make()


def test_a_codec_is_loaded_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "some_secrets", __import__("types").SimpleNamespace(
        codec=CODEC, make=make, other=5, Maker=__import__("types").SimpleNamespace(make=make)
    ))  # fmt: skip
    assert load_value_codec(None) is None
    assert load_value_codec("some_secrets:codec") is CODEC
    found = load_value_codec("some_secrets:make")
    assert found is not None
    assert found.key_id == "made"
    assert load_value_codec("some_secrets:Maker.make") is not None
    for reference in (
        "some_secrets:other",
        "some_secrets:Maker.absent",
        "some_secrets:absent",
        "absent_module:codec",
        "nothing",
        ":x",
    ):
        with pytest.raises(UsageError):
            load_value_codec(reference)
