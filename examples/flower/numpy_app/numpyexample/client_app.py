"""A node: Flower's as always, but for the mod."""

import time

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from secagg.integrations.flower import secagg_mod

from .task import examples_of, loss_of, trained

app = ClientApp(mods=[secagg_mod])  # plain: ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Trains the model of the message on the records of this node."""
    node, number = context.node_config["partition-id"], message.content["config"]["server-round"]
    print(f"node {node} trains in round {number}", flush=True)
    if context.node_config.get("hangs-in-round") == number:  # run.py kills this node here
        time.sleep(3600)
    x, y = examples_of(int(node))
    old = {name: array.numpy() for name, array in message.content["arrays"].items()}
    new = trained(old, x, y)
    metrics = {"num-examples": len(x), "loss": loss_of(old, x, y)}
    arrays = ArrayRecord({name: Array(each) for name, each in new.items()})
    content = RecordDict({"arrays": arrays, "metrics": MetricRecord(metrics)})
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Returns the loss of the model of the message; in clear, as `AGREED` has no `evaluate`."""
    x, y = examples_of(int(context.node_config["partition-id"]))
    model = {name: array.numpy() for name, array in message.content["arrays"].items()}
    metrics = MetricRecord({"num-examples": len(x), "loss": loss_of(model, x, y)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
