"""A node: Flower's as always, but for the mod."""

import time

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from secagg.integrations.flower import secagg_mod

from .task import Net, examples_of, measured, trained

app = ClientApp(mods=[secagg_mod])  # plain: ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Trains the model of the message on the images of this node."""
    node, number = context.node_config["partition-id"], message.content["config"]["server-round"]
    print(f"node {node} trains in round {number}", flush=True)
    if context.node_config.get("hangs-in-round") == number:  # run.py kills this node here
        time.sleep(3600)
    model = Net()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    images, classes = examples_of(int(node))
    metrics = MetricRecord({"num-examples": len(images), **trained(model, images, classes)})
    arrays = ArrayRecord(model.state_dict())
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Returns loss and accuracy of a model; in clear, as `AGREED` has no `evaluate`."""
    model = Net()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    images, classes = examples_of(int(context.node_config["partition-id"]))
    metrics = {"num-examples": len(images), **measured(model, images, classes)}
    return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)
