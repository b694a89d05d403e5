"""A map step: one task for each name, greetings in their order.

Run it: `python examples/hello_map.py`. Without PGFLOW_DSN it starts a PostgreSQL of its own.
"""

from pgflow import Flow, execute

hello = Flow[list[str]]("hello")


@hello.step()
def tidy(names: list[str]) -> list[str]:
    """Drop blanks and empty names."""
    return [name.strip() for name in names if name.strip()]


@hello.map(over=tidy)
async def greet(name: str) -> str:
    """Greet one; a task of its own, retried on its own."""
    return f"Hello {name}!"


@hello.step(depends_on=(greet,))
def letter(greetings: list[str]) -> str:
    """Receive all greetings, in the order of the names."""
    return "\n".join(greetings)


if __name__ == "__main__":
    result = execute(hello, ["Ada", "  Grace ", "", "Edsger"])
    print(result[letter])
