"""What tests of measures and edits share: a tiny model and one that differs from it by hand."""

import tiny
import torch

from itlib.measures import Measured
from itlib.spec import RunSpec


def about(model, *, base=tiny.llama, spec=None, items=(), trained_on=(), tokenizer=None, context_length=64):
    """A tuned tiny model beside the base it came from."""
    return Measured(
        spec or RunSpec(),
        model.eval(),
        tokenizer,
        base=base,
        items=items,
        trained_on=lambda: trained_on,
        pad_id=0,
        context_length=context_length,
    )


def moved(change, seed=0):
    """A tiny model whose matrices were changed by ``change(name, weight)``, a tensor to add or None."""
    from itlib.dense import matrices

    model = tiny.llama()
    with torch.no_grad():
        for name, weight in matrices(model):
            added = change(name, weight)
            if added is not None:
                weight += added
    return model
