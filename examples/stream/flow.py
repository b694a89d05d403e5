"""The flow: a batch of events is grouped by shop, each group is worked out in a task, the metrics are written together."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from pgflow import Flow, current_task

from . import store

RESAMPLES = 10_000


@dataclass(frozen=True)
class Sale:
    """An event, and its number in the stream."""

    seq: int
    shop: str
    cents: int


@dataclass(frozen=True)
class Batch:
    """The run's input."""

    sales: list[Sale]


@dataclass(frozen=True)
class Group:
    """The sales of one shop in a batch."""

    shop: str
    cents: list[int]


stream_metrics = Flow[Batch]("stream_example", base_delay=0)


@stream_metrics.step()
def aggregate(batch: Batch) -> list[Group]:
    """Group the sales by shop."""
    groups = defaultdict[str, list[int]](list)
    for sale in batch.sales:
        groups[sale.shop].append(sale.cents)
    return [Group(shop, cents) for shop, cents in sorted(groups.items())]


@stream_metrics.map(over=aggregate)
def transform(group: Group) -> store.Metric:
    """Work out a group: the bootstrap's interval for its mean is what takes the time."""
    cents = np.array(group.cents)
    chance = np.random.default_rng(group.cents)  # so that another attempt finds the same
    means = chance.choice(cents, (RESAMPLES, cents.size)).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return store.Metric(
        shop=group.shop,
        sales=cents.size,
        cents=int(cents.sum()),
        mean_low=float(low),
        mean_high=float(high),
    )


@stream_metrics.step(depends_on=(transform,))
def write(metrics: list[store.Metric]) -> int:
    """Add the metrics to the totals; adding twice would be wrong, so it commits with this task's completion."""
    task = current_task()
    with task.transaction() as connection:
        store.add(connection, task.run_id, metrics)
    return sum(metric.sales for metric in metrics)
