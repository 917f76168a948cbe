"""A tiny model tuned by a method in the way that a run does it."""

import tiny
import torch

from itlib.dense import dense, matrices
from itlib.methods import Setting, method_of
from itlib.spec import MethodSpec, TrainSpec
from itlib.train import response_logits, train

PLAIN = {"pad_id": 0, "dtype": "float32"}
QUICK = TrainSpec(budget=4, batch_size=4, learning_rate=1e-2)


def spec(name, *options, **fields):
    """A method with sizes that suit the tiny model."""
    small = {"rank": 4, "alpha": 8.0, "n_virtual_tokens": 5}
    return MethodSpec(method=name, method_options=options, **(small | fields))


def setting(**changes):
    """What a method may look at: eight examples and six documents."""
    usual = {"examples": tiny.rows(8), "documents": lambda: tiny.rows(6, seed=5), "train": QUICK}
    return Setting(**(usual | changes))


def attached(tuning, model=None, seed=0, given=None):
    """The tiny model prepared by a method; draws of the start follow from the seed."""
    model = tiny.llama() if model is None else model
    torch.manual_seed(seed)
    return method_of(tuning).attach(model, tuning, given or setting()).eval()


def trained(model, tuning, settings=QUICK, optimizer=None):
    """Train a prepared model, with the optimizer of its method if it has one."""
    method = method_of(tuning)
    if method.own_optimizer and optimizer is None:
        optimizer = lambda n: method.optimizer(model, settings, n, 0)  # noqa: E731
    assert not train(model, tiny.rows(8), settings, seed=0, optimizer=optimizer, **PLAIN).diverged
    return model


def tuned(tuning, model=None, given=None, settings=QUICK):
    """The tiny model after a few steps of a method, as plain weights."""
    found = trained(attached(tuning, model, given=given), tuning, settings)
    return dense(method_of(tuning).finished(found))


def logits(model, rows=None):
    """Logits of the supervised tokens of a few rows that nothing was trained on."""
    with torch.no_grad():
        return response_logits(model, rows or tiny.rows(6, seed=9), pad_id=0)[0]


def weights(model):
    """Copies of all weights of a model by name, tied ones under each of their names."""
    return {name: weight.detach().clone() for name, weight in model.state_dict().items()}


def moved(before, after):
    """Names of the weights that changed a bit."""
    assert before.keys() == after.keys()
    return {name for name, weight in before.items() if not torch.equal(weight, after[name])}


def changes(model, base=None):
    """What tuning added to each matrix of a plain model."""
    start = dict(matrices(base or tiny.llama()))
    return {f"{name}.weight": (weight - start[name]).detach() for name, weight in matrices(model)}


def apart(left, right):
    """The largest difference between two changes, or two sets of weights."""
    assert left.keys() == right.keys()
    return max(float((left[name] - right[name]).abs().max()) for name in left)
