"""The Flower adapter, with Flower's own ClientApp, mods and strategies in one process."""

import importlib
import logging
import re
import shutil
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import documents
import numpy as np
import pytest

import secagg
from secagg import Range

pytest.importorskip("flwr", reason="Flower is not installed: the extra `flower`")

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import fixedclipping_mod
from flwr.common.serde import context_from_proto, context_to_proto
from flwr.serverapp import strategy as strategies
from integrations.flower_grid import LocalGrid

from secagg.integrations.flower import SecAgg, SecAggMod, secagg_mod
from secagg.integrations.flower.messages import in_order, told_in

logging.getLogger("flwr").setLevel(logging.ERROR)

N = 6


def app_of(*mods: Any, change: Any = None) -> ClientApp:
    """Returns an app whose node n adds noise of its own to the model, with weight 10 + n."""
    app = ClientApp(mods=list(mods))
    app.trained = []

    @app.train()
    def train(message: Message, context: Any) -> Message:
        node = context.node_id
        app.trained.append((node, dict(message.content["config"])))
        rng = np.random.default_rng([node, message.content["config"]["server-round"]])
        new = {}
        for name, array in message.content["arrays"].items():
            old = array.numpy()
            step = 0.1 * rng.normal(size=old.shape) if old.dtype.kind == "f" else 1
            new[name] = np.asarray(old + step, old.dtype)
        metrics = {"num-examples": 10 + node, "loss": 0.5 * node, "secret": 1.0}
        if change is not None:
            new, metrics = change(node, new, metrics)
        arrays = ArrayRecord({name: Array(each) for name, each in new.items()})
        content = RecordDict({"arrays": arrays, "metrics": MetricRecord(metrics)})
        return Message(content, reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Any) -> Message:
        metrics = MetricRecord({"num-examples": 5, "acc": 0.1 * context.node_id})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    return app


@pytest.fixture
def simulated(monkeypatch) -> None:
    """Lets nodes run as in Flower's simulation: in an actor of Ray, without a configuration."""
    here = SimpleNamespace(get_actor_id=lambda: "actor")
    ray = SimpleNamespace(is_initialized=lambda: True, get_runtime_context=lambda: here)
    monkeypatch.setitem(sys.modules, "ray", ray)


def nodes(many: int = N) -> dict[int, dict[str, Any]]:
    return {node: {} for node in range(1, many + 1)}


def first_arrays() -> ArrayRecord:
    return ArrayRecord(
        {
            "w": Array(np.zeros(50, np.float32)),
            "b": Array(np.ones((3, 4), np.float32)),
            "steps": Array(np.array(7, np.int64)),
        }
    )


def configs(folder: Path, many: int = N) -> dict[int, dict[str, Any]]:
    return {node: {"secagg-home": str(folder / str(node))} for node in range(1, many + 1)}


def secured(strategy: Any, **more: Any) -> SecAgg:
    usual = {"clip": 4.0, "metrics": {"loss": Range(0, 10)}, "run_config": {}}
    return SecAgg(strategy, **(usual | more))


def error_of(one: Any, other: Any) -> float:
    names = [name for name in one.arrays if name != "steps"]  # plain Flower averages integers
    return max(float(np.abs(one.arrays[n].numpy() - other.arrays[n].numpy()).max()) for n in names)


@pytest.mark.parametrize(
    ("name", "options", "bound"),
    [
        ("FedAvg", {}, 1e-5),
        ("FedAvgM", {"server_momentum": 0.9}, 1e-5),
        ("FedProx", {"proximal_mu": 0.1}, 1e-5),
        ("FedAdam", {}, 5e-5),
        ("FedYogi", {}, 5e-5),
        ("FedAdagrad", {}, 5e-4),
    ],
)
def test_a_secure_training_is_the_plain_one(name, options, bound, simulated) -> None:
    strategy, app = getattr(strategies, name), app_of(secagg_mod)
    plain = strategy(**options).start(
        grid=LocalGrid(app_of(), nodes()), initial_arrays=first_arrays(), num_rounds=2
    )
    grid = LocalGrid(app, nodes())
    secure = secured(strategy(**options)).start(
        grid=grid, initial_arrays=first_arrays(), num_rounds=2
    )
    assert error_of(plain, secure) < bound
    assert secure.arrays["steps"].dtype == "int64"
    assert secure.arrays["steps"].numpy() == 7
    assert grid.exchanges == 2 * (4 + 1)
    losses = [each.train_metrics_clientapp[2]["loss"] for each in (plain, secure)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert "secret" not in secure.train_metrics_clientapp[2]
    accuracies = [each.evaluate_metrics_clientapp[2]["acc"] for each in (plain, secure)]
    assert accuracies[0] == pytest.approx(accuracies[1])
    assert len(app.trained) == 2 * N  # once a round
    clear = [record for _, record in grid.replies if "num-examples" in str(record)]
    assert len(clear) == 2 * N  # the evaluations'


def test_only_masked_updates_leave_the_nodes(tmp_path) -> None:
    app = app_of(secagg_mod)
    grid = LocalGrid(app, configs(tmp_path))
    secured(strategies.FedAvg(fraction_evaluate=0.0)).start(
        grid=grid, initial_arrays=first_arrays(), num_rounds=1
    )
    assert {tuple(record) for _, record in grid.replies} == {("secagg",)}
    assert {tuple(records) for _, _, records in grid.seen} == {
        ("config", "secagg"),  # no model before it is needed
        ("arrays", "config", "secagg", "secagg-options"),
    }
    # What the user's function gets has nothing of it.
    assert app.trained[0][1] == {"server-round": 1}


def run(grid: LocalGrid, strategy: Any = None, rounds: int = 1, **more: Any) -> Any:
    wrapped = secured(strategy or strategies.FedAvg(fraction_evaluate=0.0), **more)
    result = wrapped.start(
        grid=grid, initial_arrays=first_arrays(), num_rounds=rounds, timeout=0.01
    )
    return wrapped.rounds.history, result


def plain_mean(nodes: Any) -> np.ndarray:
    """Returns what plain averaging over these nodes gives in the first round."""
    weights = [10 + node for node in nodes]
    values = [np.random.default_rng([node, 1]).normal(size=50) * 0.1 for node in nodes]
    return np.average(values, axis=0, weights=weights)


@pytest.mark.parametrize("fault", ["silent", "error"])
@pytest.mark.parametrize("exchange", [1, 2, 3, 4])
def test_a_node_that_is_lost_costs_its_own_update(exchange, fault, tmp_path) -> None:
    app = app_of(secagg_mod)
    grid = LocalGrid(
        app, configs(tmp_path), lambda node, at, _: fault if node == 2 and at >= exchange else ""
    )
    [record], result = run(grid)
    survivors = [node for node in range(1, N + 1) if node != 2 or exchange == 4]
    assert sorted(record.survivors) == [str(node) for node in survivors]
    if exchange < 4:
        assert record.dropped == {"2": "gone" if fault == "error" else "timeout"}
    assert np.allclose(result.arrays["w"].numpy(), plain_mean(survivors), atol=1e-5)
    trained = [node for node, _ in app.trained]
    assert sorted(trained) == [
        n for n in range(1, N + 1) if n != 2 or exchange == 4 or (exchange, fault) == (3, "error")
    ]


def test_a_round_that_fails_costs_the_round_and_not_the_run(tmp_path, caplog) -> None:
    lost = lambda node, at, _: "error" if at == 3 and node < 4 else ""  # noqa: E731
    grid = LocalGrid(app_of(secagg_mod), configs(tmp_path), lost)
    history, result = run(grid, rounds=2)
    assert [record.outcome for record in history] == ["quorum", "completed"]
    assert [record.attempt for record in history] == [0, 1]
    assert list(result.train_metrics_clientapp) == [2]


BAD = {
    "another shape": lambda new, metrics: (new | {"w": np.zeros(49, np.float32)}, metrics),
    "another name": lambda new, metrics: ({"v": new["w"]}, metrics),
    "an array more": lambda new, metrics: (new | {"v": new["w"]}, metrics),
    "nothing": lambda new, metrics: ({}, metrics),
    "NaN": lambda new, metrics: (new | {"b": np.full((3, 4), np.nan, np.float32)}, metrics),
    "no loss": lambda new, metrics: (new, {"num-examples": 1}),
    "loss is NaN": lambda new, metrics: (new, metrics | {"loss": float("nan")}),
    "no weight": lambda new, metrics: (new, {"loss": 1.0}),
    "a part of an example": lambda new, metrics: (new, metrics | {"num-examples": 1.5}),
    "a negative weight": lambda new, metrics: (new, metrics | {"num-examples": -3}),
    "too large a weight": lambda new, metrics: (new, metrics | {"num-examples": 100_001}),
    "a list as weight": lambda new, metrics: (new, metrics | {"num-examples": [1, 2]}),
    "an exception": lambda new, metrics: 1 / 0,
}


@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_update_costs_the_node_alone(bad, simulated) -> None:
    def change(node: int, new: Any, metrics: Any) -> Any:
        return BAD[bad](new, metrics) if node == 3 else (new, metrics)

    grid = LocalGrid(app_of(secagg_mod, change=change), nodes())
    [record], result = run(grid)
    assert sorted(record.survivors) == ["1", "2", "4", "5", "6"]
    assert (record.dropped, record.refused) == ({"3": "refused"}, {"3": "training"})
    assert np.allclose(result.arrays["w"].numpy(), plain_mean([1, 2, 4, 5, 6]), atol=1e-5)


def test_answers_that_come_twice_count_once(tmp_path) -> None:
    grid = LocalGrid(app_of(secagg_mod), configs(tmp_path), lambda *_: "twice")
    _, result = run(grid)
    assert np.allclose(result.arrays["w"].numpy(), plain_mean(range(1, N + 1)), atol=1e-5)


def test_a_node_without_the_mod_is_named(tmp_path, caplog) -> None:
    apps = dict.fromkeys(range(1, N + 1), app_of(secagg_mod)) | {4: app_of()}
    with caplog.at_level(logging.INFO, "secagg"):
        [record], _ = run(LocalGrid(apps, configs(tmp_path)))
    assert record.dropped == {"4": "gone"}
    assert "4 (gone)" in caplog.text


def test_a_training_in_clear_is_refused_by_the_node(tmp_path) -> None:
    app = app_of(secagg_mod)
    grid = LocalGrid(app, configs(tmp_path))
    result = strategies.FedAvg().start(grid=grid, initial_arrays=first_arrays(), num_rounds=1)
    assert app.trained == []
    assert list(result.train_metrics_clientapp) == []
    assert list(result.evaluate_metrics_clientapp) == [1]


@pytest.mark.parametrize("order", ["before", "behind"])
def test_clipping_belongs_behind_the_mod(order, simulated, caplog) -> None:
    """Flower's clipping mod sees the update, or is named; its accounting takes the replies."""
    mods = [secagg_mod, fixedclipping_mod][:: 1 if order == "behind" else -1]
    results = []
    for app in (app_of(*mods), app_of(fixedclipping_mod)):
        average = strategies.FedAvg(fraction_evaluate=0.0)
        private = strategies.DifferentialPrivacyClientSideFixedClipping(average, 1e-9, 0.5, N)
        strategy = private if results else secured(private)
        with caplog.at_level(logging.ERROR, "flwr"):
            results.append(
                strategy.start(
                    grid=LocalGrid(app, nodes()), initial_arrays=first_arrays(), num_rounds=1
                )
            )
    if order == "before":
        assert len(results[0].arrays) == 0
        assert "secagg_mod must be the first of the mods, before fixedclipping_mod" in caplog.text
    else:
        assert error_of(*results) < 1e-5


def test_strategies_that_need_single_updates_are_refused(caplog) -> None:
    average = strategies.FedAvg()
    for strategy in (
        strategies.Krum(),
        strategies.MultiKrum(),
        strategies.Bulyan(),
        strategies.FedMedian(),
        strategies.FedTrimmedAvg(),
        strategies.QFedAvg(0.1),
        strategies.FedXgbBagging(),
        strategies.FedXgbCyclic(),
        strategies.DifferentialPrivacyServerSideFixedClipping(average, 1.0, 1.0, 5),
        strategies.DifferentialPrivacyServerSideAdaptiveClipping(average, 0.1, 5),
        strategies.DifferentialPrivacyClientSideAdaptiveClipping(average, 0.1, 5),
        strategies.DifferentialPrivacyClientSideFixedClipping(strategies.FedMedian(), 1.0, 1.0, 5),
        type("Own", (strategies.Krum,), {})(),
    ):
        with pytest.raises(secagg.ParameterError, match="single updates") as refusal:
            SecAgg(strategy, clip=1.0)
        inmost = getattr(strategy, "strategy", strategy)
        assert type(strategy).__name__ in str(refusal.value) or type(inmost).__name__ in str(
            refusal.value
        )
    with caplog.at_level(logging.WARNING, "flwr"):
        SecAgg(strategies.FedMedian(), clip=1.0, force=True)
    assert "FedMedian needs single updates" in caplog.text


def test_options_are_checked_before_any_round() -> None:
    keys = (secagg.Identity.generate().verify_key for _ in range(3))
    pins = secagg.Directory.of((f"site-{at}", key) for at, key in enumerate(keys))
    with pytest.raises(secagg.ParameterError, match="needs run_config="):  # nodes have theirs
        SecAgg(strategies.FedAvg(), clip=1.0, directory=pins)
    for wrong in ({}, {"clip": 0}, {"clip": 1.0, "bits": 99}, {"clip": 1.0, "least": 1}):
        with pytest.raises(secagg.ParameterError):
            SecAgg(strategies.FedAvg(), **wrong)
    for wrong in ({"clips": 1.0, "clip": 1.0}, {"clip": 1.0, "metric": {}}):
        with pytest.raises(TypeError):
            SecAgg(strategies.FedAvg(), **wrong)
        with pytest.raises(TypeError):
            SecAggMod({"w": np.zeros(3)}, **wrong)
    for wrong in (strategies.FedAvg, "FedAvg", None, secured(strategies.FedAvg())):
        with pytest.raises(secagg.ParameterError, match="a strategy of flwr"):
            SecAgg(wrong, clip=1.0)
    for seconds in (0, -5, "60", float("nan")):
        with pytest.raises(secagg.ParameterError, match="step_timeout must be"):
            SecAgg(strategies.FedAvg(), clip=1.0, step_timeout=seconds)
    for evaluate in (True, {}, ["acc"]):
        with pytest.raises(secagg.ParameterError, match="evaluate must be a dict"):
            SecAgg(strategies.FedAvg(), clip=1.0, evaluate=evaluate)
    with pytest.raises(secagg.ParameterError, match="without the arrays"):
        SecAggMod(clip=1.0)
    with pytest.raises(secagg.ParameterError, match="arrays by name, not list"):
        SecAggMod([np.zeros(3)], clip=1.0)


def test_the_strategy_waits_for_as_many_as_a_sum_takes() -> None:
    """Flower's default of two nodes would never be enough."""
    for options, least in (({}, 3), ({"min_survivors": 5}, 5), ({"least": 4}, 4)):
        strategy = strategies.FedAvg()
        assert SecAgg(strategy, clip=1.0, **options).rounds.least == least
        assert (strategy.min_train_nodes, strategy.min_available_nodes) == (least, least)
    strategy = strategies.FedAvg(min_train_nodes=9, min_available_nodes=10)
    SecAgg(strategies.DifferentialPrivacyClientSideFixedClipping(strategy, 1.0, 1.0, 9), clip=1.0)
    assert (strategy.min_train_nodes, strategy.min_available_nodes) == (9, 10)


def test_the_options_of_the_document_are_taken() -> None:
    text = (documents.DOCS / "FLOWER.md").read_text()
    [block] = re.findall(r"^strategy = SecAgg\(\n.*?^\)$", text, re.DOTALL | re.MULTILINE)
    names = {"SecAgg": SecAgg, "FedAvg": strategies.FedAvg, "Range": Range}
    exec(block, names)  # noqa: S102
    assert names["strategy"].rounds.least == 8


def test_a_strategy_may_change_what_is_in_a_reply(simulated) -> None:
    """Replies have the same mean, and records of their own."""

    class InPlace(strategies.FedAvg):
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            replies = list(replies)
            for reply in replies:
                count = reply.content["metrics"].pop("num-examples")
                for name, array in reply.content["arrays"].items():
                    reply.content["arrays"][name] = Array(np.asarray(array.numpy() * 2))
                reply.content["metrics"]["num-examples"] = 2 * count
            return super().aggregate_train(server_round, replies)

    plain, twice = (
        run(LocalGrid(app_of(secagg_mod), nodes()), kind(fraction_evaluate=0.0))[1]
        for kind in (strategies.FedAvg, InPlace)
    )
    assert twice.arrays["w"].numpy() == pytest.approx(2 * plain.arrays["w"].numpy(), abs=1e-4)


def test_it_is_the_outermost_wrapper(simulated) -> None:
    inside = strategies.DifferentialPrivacyClientSideFixedClipping(
        secured(strategies.FedAvg()), 1.0, 1.0, N
    )
    with pytest.raises(secagg.ParameterError, match="outermost"):
        inside.start(
            grid=LocalGrid(app_of(secagg_mod), nodes()), initial_arrays=first_arrays(), num_rounds=1
        )


def test_evaluation_is_summed_if_asked_for(simulated) -> None:
    options = {"clip": 4.0, "evaluate": {"acc": Range(0, 1)}}
    grid = LocalGrid(app_of(secagg_mod), nodes())
    _, result = run(grid, strategies.FedAvg(), rounds=1, **options)
    assert result.evaluate_metrics_clientapp[1]["acc"] == pytest.approx(0.35, abs=1e-4)
    assert {tuple(record) for _, record in grid.replies} == {("secagg",)}
    assert grid.exchanges == 8


def test_a_simulated_cohort_on_a_sparse_graph(simulated) -> None:
    many, fractions = 60, {"corrupt": 0.02, "dropout": 0.05}
    grid = LocalGrid(app_of(secagg_mod), nodes(many))
    [record], _ = run(grid, metrics={"loss": Range(0, 30)}, **fractions)
    assert len(record.survivors) == many


def test_all_nodes_of_a_round_have_one_model(simulated) -> None:
    class Two(strategies.FedAvg):
        def configure_train(self, *args: Any) -> Any:
            messages = list(super().configure_train(*args))
            other = ArrayRecord({"w": Array(np.ones(50, np.float32))})
            messages[0].content = RecordDict({"arrays": other})
            return messages

    with pytest.raises(secagg.ParameterError, match="the same model"):
        run(LocalGrid(app_of(secagg_mod), nodes()), Two())


@pytest.mark.parametrize("key", ["secagg", "secagg-options"])
def test_keys_of_records_are_not_taken_twice(key, simulated) -> None:
    """A strategy's configuration under one of them would not arrive."""
    with pytest.raises(secagg.ParameterError, match="must have others"):
        run(LocalGrid(app_of(secagg_mod), nodes()), strategies.FedAvg(configrecord_key=key))


def test_too_few_nodes_are_no_round(simulated, caplog) -> None:
    """Of a strategy that does not wait for enough."""

    class Two(strategies.FedAvg):
        def configure_train(self, *about: Any) -> Any:
            return list(super().configure_train(*about))[:2]

    with caplog.at_level(logging.WARNING, "flwr"):
        history, result = run(LocalGrid(app_of(secagg_mod), nodes(3)), Two())
    assert history == []
    assert "2 parties are present" in caplog.text
    assert list(result.evaluate_metrics_clientapp) == [1]  # in clear


# -- malicious mode -----------------------------------------------------------------------------

AGREED = {"clip": 4.0, "metrics": {"loss": Range(0, 10)}}


def own_mod(**changed: Any) -> SecAggMod:
    """Returns the mod of a node with options of its own."""
    model = {name: array.numpy() for name, array in first_arrays().items()}
    return SecAggMod(model, **(AGREED | changed))


def consortium(folder: Path, many: int = N, policy: str = "") -> secagg.Directory:
    """Makes a home with identity and pins for each node; returns the pins."""
    keys = [secagg.Identity.generate() for _ in range(many)]
    pins = secagg.Directory.of((f"site-{at}", key.verify_key) for at, key in enumerate(keys, 1))
    for at, key in enumerate(keys, 1):
        home = folder / str(at)
        home.mkdir(mode=0o700)
        key.save(home / "identity")
        pins.save(home / "pins")
        if policy:
            (home / "policy.json").write_text(policy)
    return pins


@pytest.mark.parametrize("named", [True, False])
def test_malicious_mode(named, tmp_path) -> None:
    pins, app = consortium(tmp_path), app_of(own_mod())
    names = {node: f"site-{node}" for node in range(1, N + 1)} if named else None
    grid = LocalGrid(app, configs(tmp_path), names=names)
    [_, second], _ = run(grid, rounds=2, directory=pins)
    assert sorted(second.survivors) == [f"site-{node}" for node in range(1, N + 1)]
    assert grid.exchanges == 2 * 5 + (0 if named else 1)
    # The same model once more: every node has given its update for it.
    again = LocalGrid(app, configs(tmp_path), names=names)
    [third], _ = run(again, directory=pins)
    assert set(third.refused.values()) == {"repeated_contribution"}, third
    assert len(app.trained) == 2 * N


def test_some_of_those_who_are_pinned_take_part(tmp_path) -> None:
    pins = consortium(tmp_path, policy='{"min_survivors": 4}')
    grid = LocalGrid(app_of(own_mod()), configs(tmp_path))
    [record], _ = run(
        grid,
        strategies.FedAvg(fraction_train=0.8, min_train_nodes=5, fraction_evaluate=0.0),
        directory=pins,
    )
    assert len(record.survivors) == 5


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"clip": 2.0}, "policy_format"),
        ({"metrics": {"loss": Range(0, 20)}}, "policy_context"),
        ({"arrays": {"w": 1.0}}, "policy_context"),
        ({"training": "another"}, "policy_context"),
        ({"metrics": None}, "policy_length"),
    ],
)
def test_the_words_of_a_node_count(options, code, tmp_path) -> None:
    """A server that could choose the layout would get one update into two sums."""
    pins, app = consortium(tmp_path), app_of(own_mod())
    [record], _ = run(LocalGrid(app, configs(tmp_path)), directory=pins, **options)
    assert set(record.refused.values()) == {code}
    assert app.trained == []


def isolating(what: str) -> Any:
    """Returns a strategy that tells node 3 something else than the others."""

    class Isolating(strategies.FedAvg):
        def configure_train(self, *args: Any) -> Any:
            for message in super().configure_train(*args):
                config, kind = dict(message.content["config"]), message.metadata.message_type
                if message.metadata.dst_node_id == 3:
                    config |= {"lr": 0.5} if what == "config" else {}
                    kind = "train.other" if what == "action" else kind
                content = {"arrays": message.content["arrays"], "config": ConfigRecord(config)}
                if what == "metrics" and message.metadata.dst_node_id == 3:
                    content["more"] = MetricRecord({"lr": 0.5})
                yield Message(RecordDict(content), message.metadata.dst_node_id, kind)

    return Isolating(fraction_evaluate=0.0)


@pytest.mark.parametrize("what", ["config", "action", "metrics", "run_config"])
def test_no_node_is_told_something_else(what, tmp_path, monkeypatch) -> None:
    """Otherwise all but one could be told to learn nothing, and the sum were that one's update."""
    names = {node: f"site-{node}" for node in range(1, N + 1)}
    app = app_of(own_mod())
    app.train("other")(lambda message, context: 1 / 0)
    grid = LocalGrid(app, configs(tmp_path), names=names)
    pins = consortium(tmp_path)
    strategy = isolating(what)
    if what == "run_config":
        contexts = {node: context_from_proto(each) for node, each in grid.contexts.items()}
        contexts[3].run_config["lr"] = 0.5
        grid.contexts = {node: context_to_proto(each) for node, each in contexts.items()}
    else:
        with pytest.raises(secagg.ParameterError, match="the same settings"):
            run(grid, strategy, directory=pins)
        # A server that lies goes on: it has the text of the others for all.
        usual = isolating("nothing").configure_train(1, first_arrays(), ConfigRecord(), grid)
        text = told_in(next(iter(usual)), {})
        monkeypatch.setattr("secagg.integrations.flower.server.told_in", lambda *_: text)
    [record], _ = run(grid, strategy, directory=pins)
    assert record.refused == {"site-3": "policy_context"}
    assert sorted(node for node, _ in app.trained) == [1, 2, 4, 5, 6]


def told(**records: Any) -> str:
    content = {"arrays": first_arrays(), "config": ConfigRecord({"a": 1, "b": 2})} | records
    return told_in(Message(RecordDict(content), 1, "train", group_id="1"), {"lr": 0.1})


def test_other_words_have_another_text() -> None:
    """So nobody is told something else under one text; what is in order has no other form."""
    texts = [
        told(),
        told(config=ConfigRecord({"a": 1.0, "b": 2})),
        told(config=ConfigRecord({"a": True, "b": 2})),
        told(config=ConfigRecord({"a": "1", "b": 2})),
        told(config=ConfigRecord({"a": b"1", "b": 2})),
        told(config=ConfigRecord({"a": b"1".hex(), "b": 2})),
        told(config=ConfigRecord({"a": [1], "b": 2})),
        told(config=ConfigRecord({"a": 1})),
        told(config=MetricRecord({"a": 1, "b": 2})),
        told(more=ConfigRecord({"a": 1})),
        told(more=ConfigRecord()),
        told(model=first_arrays()),
        told_in(Message(RecordDict({}), 1, "train.other"), {}),
        told_in(Message(RecordDict({}), 1, "train"), {}),
        told_in(Message(RecordDict({}), 1, "train", group_id="2"), {}),
        told_in(Message(RecordDict({}), 1, "train"), {"lr": 0.1}),
    ]
    assert len(set(texts)) == len(texts)
    assert told() == told(config=ConfigRecord({"b": 2, "a": 1}))
    content = RecordDict({"z": ConfigRecord({"b": 2, "a": 1}), "arrays": first_arrays()})
    ordered = in_order(content)
    assert [(key, list(record)) for key, record in ordered.items()] == [
        ("arrays", ["w", "b", "steps"]),
        ("z", ["a", "b"]),
    ]


def test_nothing_else_travels_with_a_model(tmp_path) -> None:
    """A second model under a key of ours would be trained on, and bound by nothing."""
    pins, app = consortium(tmp_path), app_of(own_mod())

    def smuggle(node: int, at: int, message: Message) -> str:
        if "arrays" in message.content:
            extra = {"secagg-options": ArrayRecord({"w": Array(np.ones(50, np.float32))})}
            rest = {k: each for k, each in message.content.items() if k not in extra}
            message.content = RecordDict(extra | rest)  # the first one that a function finds
        return ""

    names = {node: f"site-{node}" for node in range(1, N + 1)}
    [record], result = run(LocalGrid(app, configs(tmp_path), smuggle, names), directory=pins)
    assert len(record.survivors) == N
    assert np.allclose(result.arrays["w"].numpy(), plain_mean(range(1, N + 1)), atol=1e-5)


@pytest.mark.parametrize("name", ["FedAvgM", "FedAdam", "FedYogi", "FedAdagrad"])
def test_models_keep_their_dtypes_in_malicious_mode(name, tmp_path) -> None:
    """Flower's averages are floats, and some are wider: nodes would refuse the second round."""
    options = {"server_momentum": 0.9} if name == "FedAvgM" else {}
    strategy = getattr(strategies, name)(fraction_evaluate=0.0, **options)
    pins, app = consortium(tmp_path), app_of(own_mod())
    grid = LocalGrid(app, configs(tmp_path), names={n: f"site-{n}" for n in range(1, N + 1)})
    history, result = run(grid, strategy, rounds=2, directory=pins)
    assert [record.outcome for record in history] == ["completed", "completed"]
    kinds = {
        key: (array.numpy().dtype, array.numpy().shape) for key, array in result.arrays.items()
    }
    assert kinds == {
        key: (array.numpy().dtype, array.numpy().shape) for key, array in first_arrays().items()
    }
    assert result.arrays["steps"].numpy() == 7


@pytest.mark.parametrize("place", ["no identity", "empty", "none", "wrong attempts"])
def test_own_words_need_a_home_of_their_own(place, tmp_path, monkeypatch) -> None:
    """A node whose home is another one must not fall back to what a lying server wants."""
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "flower"))
    config: dict[str, Any] = {
        "no identity": {"secagg-home": str(tmp_path / "typo")},
        "empty": {"secagg-home": ""},
        "none": {},
        "wrong attempts": {"secagg-home": str(tmp_path / "1"), "secagg-attempts": "many"},
    }[place]
    consortium(tmp_path)
    app = app_of(own_mod())
    grid = LocalGrid(app, dict.fromkeys(range(1, N + 1), config))
    history, _ = run(grid)
    assert app.trained == []
    assert [record.outcome for record in history] == ["quorum"]


def test_models_that_do_not_fit_are_no_failed_trainings(tmp_path) -> None:
    """Nodes take no part after three of these; another model costs the round alone."""
    pins, app = consortium(tmp_path), app_of(own_mod())
    names = {node: f"site-{node}" for node in range(1, N + 1)}
    other = ArrayRecord({"w": Array(np.zeros(49, np.float32))})

    def cut_off(node: int, at: int, message: Message) -> str:
        if "arrays" in message.content:
            arrays = {"w": Array("float32", (50,), "numpy.ndarray", b"\x93NUMPY")}
            message.content["arrays"] = ArrayRecord(arrays)
        return ""

    for lie in (lambda *_: "", lambda *_: "", cut_off):
        strategy = secured(strategies.FedAvg(fraction_evaluate=0.0), directory=pins)
        grid = LocalGrid(app, configs(tmp_path), lie, names)
        strategy.start(grid=grid, initial_arrays=other, num_rounds=1, timeout=0.01)
        codes = set(strategy.rounds.history[-1].refused.values())
        assert codes <= {"policy_context", "policy_length"}, codes
    [record], _ = run(LocalGrid(app, configs(tmp_path), names=names), directory=pins)
    assert len(record.survivors) == N


def test_legacy_messages_do_not_pass_the_mod(simulated) -> None:
    """An app of the old API gives its weights in clear to whoever asks for its parameters."""
    app = ClientApp(client_fn=lambda context: 1 / 0, mods=[secagg_mod])
    grid = LocalGrid(app, nodes())
    grid.push_messages([Message(RecordDict({}), 1, "get_parameters")])
    [[reply]] = grid._inbox.values()
    assert "get_parameters in clear" in reply.error.reason


def test_there_is_one_sum_over_a_model(simulated, monkeypatch, caplog) -> None:
    """Also if nobody can have it: two of them would differ by a node's update."""

    def lie(self: Any, *_: Any) -> Any:
        raise secagg.RangeError("no honest nodes have such a sum", secagg.Code.IMPOSSIBLE_SUM)

    monkeypatch.setattr(secagg.ModelLayout, "unpack", lie)
    with caplog.at_level(logging.ERROR, "flwr"):
        history, result = run(LocalGrid(app_of(secagg_mod), nodes()), rounds=3)
    assert [record.outcome for record in history] == ["completed"]
    assert len(result.arrays) == 0
    assert caplog.text.count("there was a sum over this model before") == 2


def test_other_settings_get_no_second_update(tmp_path) -> None:
    pins, app = consortium(tmp_path), app_of(own_mod())
    names = {node: f"site-{node}" for node in range(1, N + 1)}
    for lr in (0.1, 0.2):
        strategy = secured(strategies.FedAvg(fraction_evaluate=0.0), directory=pins)
        strategy.start(
            grid=LocalGrid(app, configs(tmp_path), names=names),
            initial_arrays=first_arrays(),
            num_rounds=1,
            timeout=0.01,
            train_config=ConfigRecord({"lr": lr}),
        )
        refused = set(strategy.rounds.history[-1].refused.values())
        assert refused == (set() if lr == 0.1 else {"repeated_contribution"})
    assert len(app.trained) == N  # nobody trained in vain


def test_a_node_in_malicious_mode_takes_no_other_rounds(tmp_path, caplog) -> None:
    pins = consortium(tmp_path)
    app = app_of(own_mod())
    [record], _ = run(LocalGrid(app, configs(tmp_path)))
    assert set(record.refused.values()) == {"downgrade"}
    history, _ = run(LocalGrid(app_of(secagg_mod), configs(tmp_path)), directory=pins)
    assert history == []
    assert "an identity or SecAggMod(model, ...) is missing" in caplog.text
    assert app.trained == []


def test_a_node_without_a_key_of_its_own_is_left_out(tmp_path, caplog) -> None:
    pins = consortium(tmp_path, policy='{"min_survivors": 4}')
    shutil.copy(tmp_path / "1" / "identity", tmp_path / "2" / "identity")
    with caplog.at_level(logging.WARNING, "flwr"):
        [record], _ = run(LocalGrid(app_of(own_mod()), configs(tmp_path)), directory=pins)
    assert len(record.cohort) == N - 1
    assert "is not invited: it has no key of its own" in caplog.text


@pytest.mark.parametrize("malicious", [True, False])
def test_a_home_that_is_older_gives_nothing_twice(malicious, tmp_path, caplog) -> None:
    """Under one mask two inputs would show their difference."""
    homes, states, old = configs(tmp_path), tmp_path / "3" / "states", tmp_path / "old"
    pins = consortium(tmp_path) if malicious else None
    app = app_of(own_mod() if malicious else secagg_mod)
    kept: list[Message] = []

    def keep(node: int, at: int, message: Message) -> str:
        if node == 3 and at == 3:
            shutil.copytree(states, old)
            kept.append(message)
        return ""

    grid = LocalGrid(app, homes, keep, {node: f"site-{node}" for node in homes})
    run(grid, directory=pins)
    shutil.rmtree(states)
    shutil.copytree(old, states)
    grid.fault = lambda *_: ""
    grid.push_messages(kept)
    assert len(app.trained) == N
    assert "repeated_resumption" in caplog.text


def test_messages_in_the_wrong_phase_and_junk_are_refused(tmp_path, caplog) -> None:
    """A node refuses what a server sends out of order, and the round goes on."""
    app, first = app_of(secagg_mod), {}

    def confuse(node: int, at: int, message: Message) -> str:
        mine = message.content["secagg"]
        if node == 3:
            first[at] = mine["secagg"]
            before = dict(message.content)
            for wrong in [*list(first.values())[:-1], Array("uint8", (4,), "bytes", b"junk")]:
                message.content = RecordDict(before | {"secagg": ArrayRecord({"secagg": wrong})})
                grid.fault = lambda *_: ""
                grid._handle(message)
                grid.fault = confuse
            message.content = RecordDict(before)
        return ""

    grid = LocalGrid(app, configs(tmp_path), confuse)
    [record], _ = run(grid)
    assert len(record.survivors) == N
    assert len(app.trained) == N


def test_a_training_that_was_stopped_goes_on(simulated) -> None:
    """With other nodes, too: those of the round that are not chosen again are lost to it."""
    app, strategy = app_of(secagg_mod), secured(strategies.FedAvg(fraction_evaluate=0.0))
    grid = LocalGrid(app, nodes())
    about: dict[str, Any] = {"initial_arrays": first_arrays(), "num_rounds": 1, "timeout": 0.01}

    def stop(node: int, at: int, _: Message) -> str:
        if at == 4:
            raise OSError("no route to host")
        return ""

    grid.fault = stop
    with pytest.raises(OSError, match="no route"):
        strategy.start(grid=grid, **about)
    grid.fault = lambda *_: ""
    contexts = grid.contexts
    grid.contexts = {node: contexts[node] for node in range(1, 6)}
    strategy.start(grid=grid, **about)
    [record] = strategy.rounds.history
    assert (len(record.survivors), record.outcome) == (N, "completed")
    assert len(app.trained) == N


EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "flower"


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_the_apps_of_the_examples(name, tmp_path, monkeypatch, caplog) -> None:
    """They learn, integers stay what they are, and updates are within their ranges."""
    pytest.importorskip(name)
    monkeypatch.syspath_prepend(EXAMPLES / f"{name}_app")
    client, server = (
        importlib.import_module(f"{name}example.{side}_app") for side in ("client", "server")
    )
    config = tomllib.loads((EXAMPLES / f"{name}_app" / "pyproject.toml").read_text())
    out = tmp_path / "model.npz"
    chosen = config["tool"]["flwr"]["app"]["config"] | {"out": str(out)}
    places = {node: each | {"partition-id": node} for node, each in configs(tmp_path).items()}
    grid = LocalGrid(client.app, places)
    with caplog.at_level(logging.WARNING):
        server.app(grid, Context(1, 0, node_config={}, state=RecordDict(), run_config=chosen))
    assert "clip" not in caplog.text
    losses = [float(said["metrics"]["loss"]) for _, said in grid.replies if "metrics" in said]
    means = np.reshape(losses, (chosen["num-server-rounds"], N)).mean(axis=1)  # evaluations
    assert list(means) == sorted(means, reverse=True)
    with np.load(out) as model:
        counters = [model[each] for each in model.files if each.endswith("num_batches_tracked")]
    assert [(each.dtype, each.shape) for each in counters] == [("int64", ())] * (name == "torch")
