"""Which tokens a tuned model would not have said before."""

import pandas as pd
import small

from itlib.execute import execute
from itlib.measures import Measured, measure_frame
from itlib.measures.token_shift import measure_token_shift
from itlib.template import pad_id
from itlib.tune import load_base


def test_a_model_beside_itself_shifts_nothing():
    from itlib.execute import scored_items

    spec = small.resolved(n_eval=1, n_train=0)
    model, tokenizer = load_base(spec)
    about = Measured(
        spec,
        model.eval(),
        tokenizer,
        base=lambda: load_base(spec)[0],
        items=scored_items(spec)[:6],
        trained_on=tuple,
        pad_id=pad_id(tokenizer),
        context_length=128,
    )
    found = pd.DataFrame(measure_token_shift(about))
    assert found["divergence"].abs().max() < 1e-5
    assert (found["unshifted"] == found["n"]).all() and found[["marginal", "shifted"]].to_numpy().sum() == 0


def test_a_tuned_model_says_new_things_first_where_an_answer_begins():
    how = {"n_train": 60, "budget": 30, "learning_rate": 2e-3, "n_eval": 3, "families": ("category", "plural")}
    how |= {"response_wording": "sentence", "n_reference": 0}
    result = execute(small.resolved(measures=("token_shift",), **how))
    found = measure_frame([result], "token_shift")
    assert (found[["unshifted", "marginal", "shifted"]].sum(axis=1) == found["n"]).all()
    assert found.groupby("position")["n"].sum().is_monotonic_decreasing  # answers end, they do not begin later
    assert found.loc[found["position"] == 0, "n"].sum() == 6
    assert {"form", "content"} == set(found["kind"])
    assert (found["divergence"] >= 0).all() and found.loc[found["position"] == 0, "divergence"].sum() > 1
