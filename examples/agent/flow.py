"""The agent as a flow: the model decides, the tools run side by side, the model answers from what they gave.

    question -> analyze -> call_tool (a map) -> aggregate -> reflect -> respond

`reflect` may ask for tools once more, when the first outputs show what else is needed. A flow has no
cycles, so that is a branch which runs on a condition.
"""

from __future__ import annotations

from pgflow import Flow, current_task

from .grounding import UngroundedError, doubts
from .messages import Answer, Conversation, Question, ToolCall, ToolResult, Turn
from .model import ask
from .tools import make_call

agent = Flow[Question]("agent", max_attempts=3, base_delay=1, timeout=60)


@agent.step()
async def analyze(question: Question) -> list[ToolCall]:
    """Have the model choose tools and arguments."""
    return (await ask(Conversation(question=question.text))).calls


@agent.map(over=analyze, failure_policy="continue")
async def call_tool(call: ToolCall) -> ToolResult:
    """Make one call: a task of its own, so a call that times out is repeated alone."""
    return await make_call(call)


@agent.step(depends_on=(analyze, call_tool))
async def aggregate(calls: list[ToolCall], results: list[ToolResult | None]) -> Conversation:
    """Put every output beside its call, in the order in which the model asked."""
    question = Question.model_validate(current_task().run_input)
    return Conversation(question=question.text).after(calls, results)


@agent.step(depends_on=(aggregate,))
async def reflect(conversation: Conversation) -> Turn:
    """Have the model answer, or ask for what is still missing."""
    return _checked(await ask(conversation), conversation)


@agent.step(depends_on=(reflect,), if_={"reflect": {"answer": None}})
def look_further(turn: Turn) -> list[ToolCall]:
    """Go for a second round; without an answer there are calls."""
    return turn.calls


@agent.map(over=look_further, failure_policy="continue")
async def call_tool_again(call: ToolCall) -> ToolResult:
    """Make one call of the second round."""
    return await make_call(call)


@agent.step(depends_on=(aggregate, reflect, call_tool_again))
async def respond(
    conversation: Conversation, turn: Turn, results: list[ToolResult | None]
) -> Answer:
    """Return the model's answer; after a second round have it written now, without further tools."""
    if turn.answer is None:
        conversation = conversation.after(turn.calls, results)
        turn = _checked(await ask(conversation, may_call=False), conversation)
    assert turn.answer is not None
    found = doubts(turn.answer, conversation)
    return Answer(text=turn.answer, results=conversation.results, doubts=found)


def _checked(turn: Turn, conversation: Conversation) -> Turn:
    """Refuse an empty answer; one that is not what its sources say too, as long as an attempt is left."""
    if turn.answer is None:
        return turn
    if not turn.answer.strip():
        raise UngroundedError("the model's answer is empty")
    task = current_task()
    found = doubts(turn.answer, conversation)
    if found and task.attempt < task.max_attempts:
        raise UngroundedError("; ".join(found))
    return turn
