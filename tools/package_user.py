"""What a user writes; tools/package.py runs it with an installed wheel, and has mypy check it."""

from pgflow import Flow, execute

hello = Flow[list[str]]("hello")


@hello.map()
async def greet(name: str) -> str:
    """Greet one."""
    return f"Hello {name}!"


@hello.step(depends_on=(greet,))
def letter(greetings: list[str]) -> str:
    """Join all greetings."""
    return " ".join(greetings)


if __name__ == "__main__":
    result = execute(hello, ["Ada", "Grace"])
    print(result[letter].strip())
