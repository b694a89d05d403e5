"""Conditions: steps that run only for some inputs, and a step that may fail without failing the run.

Run it: `python examples/conditions.py`. Without PGFLOW_DSN it starts a PostgreSQL of its own.
"""

from dataclasses import dataclass

from pgflow import Flow, NonRetryable, execute


@dataclass
class Order:
    """The run's input."""

    number: int
    express: bool
    coupon: str | None = None


orders = Flow[Order]("orders")


@orders.step(if_={"express": True})
def book_courier(order: Order) -> str:
    """Run for express orders only; for others it is skipped."""
    return f"courier for order {order.number}"


@orders.step(if_not={"express": True})
def book_post(order: Order) -> str:
    """Run for all other orders."""
    return f"post for order {order.number}"


@orders.step(when_exhausted="skip")
def redeem_coupon(order: Order) -> str:
    """Fail without a coupon; the run goes on without this step."""
    if order.coupon is None:
        raise NonRetryable("the order has no coupon")
    return f"coupon {order.coupon}"


@orders.step(depends_on=(book_courier, book_post, redeem_coupon))
def confirm(courier: str | None, post: str | None, coupon: str | None) -> str:
    """Receive None from each step that was skipped."""
    return ", ".join(part for part in (courier, post, coupon) if part is not None)


if __name__ == "__main__":
    for order in (Order(1, express=True, coupon="SPRING"), Order(2, express=False)):
        print(execute(orders, order)[confirm])
