"""Handlers that tell what they should not, at the top level of a module, so that other processes can import them."""

# ruff: noqa: TRY301

from __future__ import annotations

from pydantic import BaseModel, field_validator

from pgflow import NonRetryable, current_task

SECRET = "4111-1111-2222-3333"
PATHS = ("card.number", "*.token")


class Card(BaseModel):
    number: str
    year: int = 2030


class Order(BaseModel):
    card: Card


class Strict(BaseModel):
    number: str

    @field_validator("number")
    @classmethod
    def refuse(cls, number: str) -> str:
        raise ValueError(f"no such card: {number}")


class StrictOrder(BaseModel):
    card: Strict


def quote(order: Order) -> None:
    raise NonRetryable(f"declined: {order.card.number} ({order!r})")


def chain(order: Order) -> None:
    try:
        raise KeyError(order.card.number)
    except KeyError as error:
        raise RuntimeError("declined") from error


def validate(order: Order) -> None:
    StrictOrder.model_validate(order.model_dump())


def log(order: Order) -> None:
    logger = current_task().logger
    logger.warning("charging %s", order.card.number)
    try:
        raise KeyError(order.card.number)
    except KeyError:
        logger.exception("could not charge")
    current_task().progress(0.5, f"charging {order.card.number}")
    raise NonRetryable("declined")


def echo(given: object) -> object:
    return given
