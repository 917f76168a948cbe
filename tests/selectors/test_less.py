"""LESS: the numbers worked out by hand, the traps of the published code, and equality with the formula spelled out."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from toolbox import make_context

from itlib.errors import InputError, RunError
from itlib.gradients import trainable
from itlib.registry import selectors, sources
from itlib.resolve import resolve
from itlib.selectors import Checkpoint, less
from itlib.selectors.less import adam_feature, add_directions, checkpoint_weights, mean_cosines, norms
from itlib.spec import RunSpec, with_fields

FAMILIES = ("opposite", "add")


@pytest.fixture(scope="module")
def pool():
    spec = resolve(with_fields(RunSpec(), pool_size=26, n_train=1))
    return sources.get("microworld").pool(spec.data, seed=0)


@pytest.fixture(scope="module")
def targets(pool):
    """Four target examples of two families; none of them is in the pool that is scored."""
    return [replace(example, family=FAMILIES[i % 2]) for i, example in enumerate(pool[:4])]


@pytest.fixture
def candidates(pool):
    return pool[4:]


def vector(*numbers):
    return {"weight": torch.tensor([numbers], dtype=torch.float64)}


def adam(gradient, first, second):
    return adam_feature(*map(torch.as_tensor, (gradient, first, second))).numpy()


def direction(feature):
    return (feature / np.linalg.norm(feature)).tolist()


def cosine_with(target, vectors):
    return mean_cosines(vectors, add_directions({}, target, np.ones((1, 1))))[0, 0]


# ---- by hand ------------------------------------------------------------------------------------------------


def test_features_from_zero_moments():
    gradient, zero = np.array([3.0, 4.0]), np.zeros(2)
    feature = adam(gradient, zero, zero)
    assert direction(feature) == pytest.approx([0.7071, 0.7071], abs=1e-4)
    assert direction(gradient) == pytest.approx([0.6, 0.8])
    assert cosine_with(vector(1, 0), vector(*feature)) == pytest.approx(0.7071, abs=1e-4)
    assert cosine_with(vector(1, 0), vector(3, 4)) == pytest.approx(0.6, abs=1e-6)


def test_momentum_lets_opposite_gradients_both_point_ahead():
    first, second = np.array([0.2, -0.1]), np.array([0.04, 0.01])
    forth, back = (adam(np.array([sign, 0.0]), first, second) for sign in (1.0, -1.0))
    assert direction(forth) == pytest.approx([0.84, -0.55], abs=5e-3)
    assert direction(back) == pytest.approx([0.40, -0.92], abs=5e-3)
    assert cosine_with(vector(1, 0), vector(*forth)) > 0 and cosine_with(vector(1, 0), vector(*back)) > 0


def test_epsilon_inside_the_root_makes_coordinates_that_hardly_move_behave_as_under_sgd():
    zero = np.zeros(2)
    small = adam(np.array([3e-6, 4e-6]), zero, zero)
    assert direction(small) == pytest.approx([0.6, 0.8], abs=1e-5)
    assert small == pytest.approx(np.array([3e-7, 4e-7]) / 1e-4, rel=1e-4)


def test_moments_have_no_leading_dimension():
    rng = np.random.default_rng(0)
    gradients, first, second = rng.normal(size=(5, 2, 3)), rng.normal(size=(2, 3)), rng.random((2, 3))
    each = [adam(gradient, first, second) for gradient in gradients]
    assert np.allclose(adam(gradients, first, second), each)


def test_checkpoints_count_by_their_learning_rates():
    """The mean learning rates that the authors print for their four epochs."""
    rates = [1.6877e-5, 1.2859e-5, 7.7030e-6, 2.5616e-6]
    weights = checkpoint_weights(rates)
    assert weights.sum() == pytest.approx(1)
    assert weights / weights[0] == pytest.approx(np.array(rates) / rates[0])


def test_scaling_the_loss_of_an_example_changes_no_score():
    rng = torch.Generator().manual_seed(0)
    means = {"weight": torch.randn((3, 4), generator=rng)}
    vectors = {"weight": torch.randn((5, 2, 2), generator=rng)}
    scaled = {"weight": vectors["weight"] * torch.tensor([1e-6, 0.1, 1.0, 30.0, 1e6])[:, None, None]}
    assert np.allclose(mean_cosines(scaled, means), mean_cosines(vectors, means), atol=1e-6)


def test_a_gradient_of_zero_has_cosine_zero():
    assert cosine_with(vector(1, 0), vector(0, 0)) == 0
    assert cosine_with(vector(0, 0), vector(1, 0)) == 0
    assert np.isfinite(norms(vector(0, 0)).numpy()).all()


def test_streaming_is_the_mean_of_all_cosines():
    """No datastore, no projection, and still the cosine of every pair, averaged over each family."""
    rng = np.random.default_rng(3)
    shapes = {"a": (4, 3), "b": (5,)}
    pool, targets = ({name: rng.normal(size=(n, *s)) for name, s in shapes.items()} for n in (7, 6))
    family = np.array([0, 1, 1, 0, 1, 1])
    shares = np.array([(family == t) / (family == t).sum() for t in (0, 1)])
    means = {}
    for chunk in ([5, 0, 2], [1], [3, 4]):
        part = {name: torch.tensor(values[chunk]) for name, values in targets.items()}
        means = add_directions(means, part, shares[:, chunk])
    found = mean_cosines({name: torch.tensor(values) for name, values in pool.items()}, means)
    flat_pool, flat_targets = (
        np.concatenate([x["a"].reshape(len(x["a"]), -1), x["b"]], axis=1) for x in (pool, targets)
    )
    unit_pool, unit_targets = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (flat_pool, flat_targets))
    cosines = unit_pool @ unit_targets.T
    assert np.allclose(found, [[row[family == t].mean() for t in (0, 1)] for row in cosines], atol=1e-6)


# ---- the whole method against the formula -------------------------------------------------------------------


def flat_gradient(model, row, names):
    parameters = dict(model.named_parameters())
    logits = model(input_ids=torch.as_tensor(row.input_ids[None].astype(np.int64))).logits[0]
    at = np.flatnonzero(row.response_mask)
    loss = torch.nn.functional.cross_entropy(logits[at - 1], torch.as_tensor(row.input_ids[at]).long())
    return {
        name: gradient.double().numpy()
        for name, gradient in zip(names, torch.autograd.grad(loss, [parameters[n] for n in names]), strict=True)
    }


def spelled_out(candidates, context, targets, checkpoints, *, adam):
    """max over families, mean over their targets, sum over checkpoints: one pair at a time."""
    rates = np.array([checkpoint.learning_rate for checkpoint in checkpoints])
    cosines = np.zeros((len(candidates), len(targets)))
    for checkpoint, weight in zip(checkpoints, rates / rates.sum(), strict=True):
        names = trainable(checkpoint.model)
        sides = []
        for side, examples in (("pool", candidates), ("targets", targets)):
            vectors = []
            for row in context.features.encoded(examples):
                parts = flat_gradient(checkpoint.model, row, names)
                if adam and side == "pool":
                    for name, gradient in parts.items():
                        first, second = (moment.double().numpy() for moment in checkpoint.moments[name])
                        ahead = 0.9 * first + 0.1 * gradient
                        parts[name] = ahead / np.sqrt(0.999 * second + 0.001 * gradient**2 + 1e-8)
                whole = np.concatenate([part.ravel() for part in parts.values()])
                vectors.append(whole / np.linalg.norm(whole))
            sides.append(np.array(vectors))
        cosines += weight * sides[0] @ sides[1].T
    families = [[i for i, target in enumerate(targets) if target.family == family] for family in FAMILIES]
    return np.max([cosines[:, members].mean(axis=1) for members in families], axis=0)


@pytest.mark.parametrize(("name", "method"), [("less_adam", "full"), ("less_sgd", "full"), ("less_adam", "lora")])
def test_scores_are_the_formula_spelled_out(name, method, candidates, targets):
    context, seen = make_context(candidates, targets=targets), []

    def tune(examples, **settings):
        assert settings == {"epochs": 2.0, "checkpoints": 2, "method": method}
        seen.append(([example.id for example in examples], context.tune(examples, **settings)))
        return seen[-1][1]

    options = {"gradients": method, "checkpoints": 2, "epochs": 2.0}
    found = selectors.get(name).scores(candidates, replace(context, tune=tune), **options).values
    (warm_up, checkpoints) = seen[0]
    assert len(set(warm_up)) == 20 == context.ledger.notes["n_warmup"]
    assert context.ledger.notes["n_checkpoints"] == 2
    some = [0, 3, 7, 20]
    chosen = [candidates[row] for row in some]
    wanted = spelled_out(chosen, context, targets, checkpoints, adam=name == "less_adam")
    assert found[some] == pytest.approx(wanted, abs=1e-4)
    assert np.ptp(found) > 0.01


def test_moments_are_found_by_name_and_must_be_there(candidates, targets):
    context = make_context(candidates, targets=targets)
    checkpoints = context.tune(candidates, epochs=1.0)
    score = selectors.get("less_adam").scores

    def scored(moments):
        changed = [replace(checkpoint, moments=moments(checkpoint)) for checkpoint in checkpoints]
        return score(candidates, replace(context, tune=lambda *_, **__: changed)).values

    ordered = scored(lambda checkpoint: checkpoint.moments)
    assert np.array_equal(scored(lambda checkpoint: dict(reversed(checkpoint.moments.items()))), ordered)
    with pytest.raises(RunError, match="no Adam moments of 'model"):
        scored(lambda checkpoint: dict(list(checkpoint.moments.items())[1:]))


def test_a_copy_of_a_target_has_cosine_one_and_comes_first(candidates, targets):
    single = [replace(targets[0], family="opposite"), replace(targets[1], family="add")]
    pool = [*candidates, *(replace(target, id=f"copy-{i}") for i, target in enumerate(single))]
    for options in ({"no_warmup": True}, {"checkpoints": 2, "epochs": 2.0}):
        scores = selectors.get("less_sgd").scores(pool, make_context(pool, targets=single), **options).values
        assert scores[-2:] == pytest.approx([1, 1], abs=1e-5)
        assert scores[:-2].max() < 0.999
        rows = selectors.get("less_sgd")(pool, 2, make_context(pool, targets=single), **options)
        assert set(rows) == {len(pool) - 2, len(pool) - 1}


def test_scaling_the_losses_of_a_pool_changes_no_sgd_score(candidates, targets, monkeypatch):
    score = selectors.get("less_sgd").scores
    plain = score(candidates, make_context(candidates, targets=targets), no_warmup=True).values
    measured = less.gradient_blocks

    def scaled(model, rows, **how):
        for positions, name, part in measured(model, rows, **how):
            factors = torch.as_tensor(10.0 ** (positions % 7 - 3), dtype=torch.float32)
            yield positions, name, part * factors.view(-1, *[1] * (part.dim() - 1))

    monkeypatch.setattr(less, "gradient_blocks", scaled)
    changed = score(candidates, make_context(candidates, targets=targets), no_warmup=True).values
    assert changed == pytest.approx(plain, abs=1e-5)


@pytest.mark.parametrize("name", ["less_adam", "less_sgd"])
def test_the_order_of_the_pool_and_of_the_targets_decides_nothing(name, candidates, targets):
    options = {"checkpoints": 2, "epochs": 1.0}
    order = np.random.default_rng(0).permutation(len(candidates))
    shuffled = [candidates[row] for row in order]
    plain = selectors.get(name).scores(candidates, make_context(candidates, targets=targets), **options).values
    other = selectors.get(name).scores(shuffled, make_context(shuffled, targets=targets[::-1]), **options).values
    assert other == pytest.approx(plain[order], abs=1e-5)
    again = selectors.get(name).scores(candidates, make_context(candidates, targets=targets), **options).values
    assert np.array_equal(plain, again)


def test_the_whole_pool_is_scored(candidates, targets):
    scores = selectors.get("less_sgd").scores(candidates, make_context(candidates, targets=targets), no_warmup=True)
    assert np.isfinite(scores.values).all() and len(np.unique(scores.values)) == len(candidates)
    assert scores.excluded is None


def test_without_a_warm_up_the_scorer_is_the_only_checkpoint(candidates, targets):
    context = make_context(candidates, targets=targets)
    before = copy.deepcopy(context.features.model.state_dict())
    untunable = replace(context, tune=None)
    found = selectors.get("less_sgd").scores(candidates, untunable, no_warmup=True).values
    frozen = copy.deepcopy(context.features.model)
    frozen.get_input_embeddings().requires_grad_(False)
    some = candidates[:4]
    wanted = spelled_out(some, context, targets, [Checkpoint(frozen, 1.0)], adam=False)
    assert found[:4] == pytest.approx(wanted, abs=1e-5)
    after = context.features.model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_cost_is_a_backward_pass_over_pool_and_targets_per_checkpoint(candidates, targets):
    options = {"checkpoints": 3, "epochs": 3.0}
    context = make_context(candidates, targets=targets)
    selectors.get("less_adam").scores(candidates, context, **options)
    names = [name for name in context.ledger._passes if name.startswith("gradients")]
    assert len(names) == 6 and len(context.ledger._passes) == 7  # and the warm-up
    n_tokens = sum(len(r.input_ids) for part in (candidates, targets) for r in context.features.encoded(part))
    n_parameters = sum(parameter.numel() for parameter in context.features.model.parameters())
    assert sum(context.ledger._passes[name] for name in names) == 3 * 6 * n_tokens * n_parameters


def test_a_larger_share_warms_up_on_more_examples(candidates, targets):
    context = make_context(candidates, targets=targets)
    sizes = []

    def tune(examples, **settings):
        sizes.append(len(examples))
        return context.tune(examples, epochs=1.0)

    for share in (0.05, 1.0):
        selectors.get("less_sgd").scores(candidates, replace(context, tune=tune), warmup_fraction=share)
    assert sizes == [20, 22] == [less.FEWEST_WARMUP, len(candidates)]


def test_a_diverged_warm_up_is_an_error_and_no_random_order(candidates, targets):
    context = make_context(candidates, targets=targets)
    model = copy.deepcopy(context.features.model)
    with torch.no_grad():
        model.lm_head.weight[0, 0] = float("nan")
    broken = replace(context, tune=lambda *_, **__: [Checkpoint(model, 1e-3)])
    with pytest.raises(RunError, match="diverged"):
        selectors.get("less_sgd").scores(candidates, broken)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("less_adam", {"no_warmup": True}, "no_warmup: less_adam needs the moments"),
        ("less_sgd", {"no_warmup": True, "gradients": "lora"}, "gradients: no_warmup has 'full'"),
        ("less_adam", {"gradients": "loar"}, "did you mean 'lora'"),
        ("less_adam", {"checkpoints": 0}, "checkpoints: must be at least 1, got 0"),
        ("less_sgd", {"warmup_fraction": 0.0}, "warmup_fraction: must be above 0"),
        ("less_sgd", {"warmup_fraction": 1.5}, "warmup_fraction: must be above 0 and at most 1, got 1.5"),
        ("less_sgd", {"epochs": 0.0}, "epochs: must be above 0"),
    ],
)
def test_bad_options_are_refused_in_one_line(name, options, message, candidates, targets):
    with pytest.raises(InputError, match=message) as caught:
        selectors.get(name).scores(candidates, make_context(candidates, targets=targets), **options)
    assert "\n" not in str(caught.value)


def test_no_targets_are_refused(candidates):
    with pytest.raises(InputError, match="n_targets"):
        selectors.get("less_sgd").scores(candidates, make_context(candidates, targets=[]), no_warmup=True)
