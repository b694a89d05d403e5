from typing import Any

from pgflow.flow import Flow


def handle(*values: Any) -> Any:
    return values


def diamond() -> Flow[Any]:
    flow = Flow[Any]("orders")
    fetch = flow.step(name="fetch")(abs)
    left = flow.map(name="left", over=fetch)(abs)
    right = flow.step(name="right", depends_on=(fetch,), if_={"fetch": {"plan": "pro"}})(abs)
    flow.step(name="end", depends_on=(left, right))(max)
    flow.map(name="shards", initial_tasks=4)(abs)
    return flow


def test_tree_refers_to_shared_steps() -> None:
    assert diamond().tree() == (
        "orders\n"
        "├─ fetch\n"
        "│  ├─ left [map]\n"
        "│  │  └─ → end\n"
        '│  └─ right if {"fetch": {"plan": "pro"}}\n'
        "│     └─ end (also after left)\n"
        "└─ shards [map of 4]\n"
    )


def test_mermaid_numbers_its_nodes_and_escapes_labels() -> None:
    # `end` as the id of a node would end Mermaid's diagram.
    assert diamond().mermaid() == (
        "flowchart TD\n"
        '  s0["fetch"]\n'
        '  s1[["left"]]\n'
        '  s2["right<br/>if {#quot;fetch#quot;: {#quot;plan#quot;: #quot;pro#quot;}}"]\n'
        '  s3["end"]\n'
        '  s4[["shards"]]\n'
        "  s0 --> s1\n"
        "  s0 --> s2\n"
        "  s1 --> s3\n"
        "  s2 --> s3\n"
        "  classDef conditional stroke-dasharray: 4 3\n"
        "  class s2 conditional\n"
    )


def test_a_chain_of_thousands_is_drawn_without_recursion_or_a_triangle() -> None:
    flow = Flow[Any]("chain")
    flow.step(name="s0")(handle)
    for number in range(1, 5000):
        flow.step(name=f"s{number}", depends_on=[f"s{number - 1}"])(handle)
    lines = flow.tree().splitlines()
    assert len(lines) == 5001
    assert max(map(len, lines)) < 200
    assert len(flow.mermaid().splitlines()) == 1 + 5000 + 4999
