"""Sparse fine-tuning against masked full fine-tuning, and the exchange of entries by hand."""

from dataclasses import replace

import pytest
import small
import tiny
import torch
import tuned

from itlib.dense import matrices
from itlib.errors import InputError, RunError
from itlib.methods import method_of
from itlib.methods.sparse import n_entries, sparse_adam
from itlib.spec import TrainSpec
from itlib.train import train

FIVE = TrainSpec(budget=5, batch_size=4, learning_rate=1e-3)
TICKET = tuned.spec("lottery_ticket", rank=2)


def of_matrices(model=None):
    """The tiny model with gradients for its matrices alone."""
    model = (model or tiny.llama()).requires_grad_(False)
    for _, weight in matrices(model):
        weight.requires_grad_(True)
    return model


def searched(settings=FIVE):
    """What full training of the matrices changes."""
    return tuned.changes(tuned.trained(of_matrices(), tuned.spec("full"), settings))


def masks(change, rank):
    """The ``rank (m + n)`` entries of every matrix with the largest change."""
    found = {}
    for name, matrix in change.items():
        least = matrix.abs().flatten().sort(descending=True).values[rank * sum(matrix.shape) - 1]
        found[name] = matrix.abs() >= least
    return found


def ticket(settings=FIVE, tuning=TICKET, **given):
    given = tuned.setting(train=settings, **given)
    return tuned.tuned(tuning, given=given, settings=settings), given


# ---- a search, and its winners ------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [1, 4])
def test_winners_train_as_full_fine_tuning_with_masked_gradients(rank):
    plain, _ = ticket(tuning=tuned.spec("lottery_ticket", rank=rank))
    keep = masks(searched(), rank)
    reference = of_matrices()
    for name, weight in matrices(reference):
        weight.register_hook(lambda gradient, mask=keep[f"{name}.weight"]: gradient * mask)
    wanted = tuned.changes(tuned.trained(reference, tuned.spec("full"), FIVE))
    assert tuned.apart(tuned.changes(plain), wanted) <= 2e-6
    assert min(change.abs().max() for change in wanted.values()) >= 1e-3
    assert tuned.apart(wanted, searched()) > 1e-3


def test_the_entries_with_the_largest_change_of_the_search_move_and_no_others():
    moved = {name: change != 0 for name, change in tuned.changes(ticket()[0]).items()}
    for name, change in searched().items():
        assert int(moved[name].sum()) == 2 * sum(change.shape)
        assert change[moved[name]].abs().min() >= change[~moved[name]].abs().max()
    plain, base = ticket()[0].state_dict(), tiny.llama().state_dict()
    assert all(torch.equal(plain[name][~mask], base[name][~mask]) for name, mask in moved.items())


def test_a_search_is_training_from_the_base_and_leaves_no_trace_in_it():
    model = tiny.llama()
    attached = tuned.attached(TICKET, model)
    assert torch.equal(tuned.logits(attached), tuned.logits(tiny.llama()))
    assert all(not weight.any() for weight in attached.parameters() if weight.requires_grad)


def test_what_the_search_read_is_noted():
    _, given = ticket()
    trace = train(of_matrices(), tiny.rows(8), FIVE, seed=0, **tuned.PLAIN)
    noted = ("n_steps", "n_tokens", "n_response_tokens")
    assert given.notes == {f"search_{name}": trace.totals[name] for name in noted}
    assert given.notes["search_n_steps"] == 5 and given.notes["search_n_tokens"] > 100


def test_searches_of_many_rounds_add_up():
    given = tuned.setting(train=FIVE)
    for round in range(3):
        tuned.attached(TICKET, given=replace(given, round=round))
    assert given.notes["search_n_steps"] == 15


def test_the_search_minimises_the_loss_of_responses_whatever_the_run_does():
    plain = tuned.attached(TICKET, given=tuned.setting(train=FIVE))
    other = tuned.attached(TICKET, given=tuned.setting(train=replace(FIVE, objective="kl_align")))
    for left, right in zip(plain.modules(), other.modules(), strict=True):
        if hasattr(left, "shira_indices"):
            assert torch.equal(left.shira_indices["default"], right.shira_indices["default"])


def test_a_search_needs_examples_and_entries():
    with pytest.raises(InputError, match="'lottery_ticket' searches by training and needs the examples"):
        tuned.attached(TICKET, given=tuned.setting(examples=()))
    with pytest.raises(InputError, match="rank: 11 asks for more entries than .*k_proj has, 512"):
        tuned.attached(replace(TICKET, rank=11))
    tuned.attached(replace(TICKET, rank=10))  # 10 (16 + 32) of 512


def test_a_search_that_breaks_is_said():
    with pytest.raises(RunError, match="the search for entries diverged"):
        tuned.attached(TICKET, given=tuned.setting(train=replace(FIVE, learning_rate=1e38)))


# ---- entries that are exchanged on the way ------------------------------------------------------------------


class Masked(torch.optim.AdamW):
    """The library's optimizer, whose gradients are masked before each step."""

    def __init__(self, keep, **how):
        super().__init__(list(keep), **how)
        self.keep = keep

    def step(self, closure=None):
        for weight, mask in self.keep.items():
            weight.grad *= mask
        super().step(closure)


def growing(*options, settings=FIVE, watch=None):
    """The tiny model after training, and the optimizer that did it."""
    tuning, made = tuned.spec("grow_and_drop", *options), []
    model = tuned.attached(tuning)

    def optimizer(n_steps):
        made.append(method_of(tuning).optimizer(model, settings, n_steps, 0))
        return made[0]

    on_step = (lambda model, step, n: watch(made[0])) if watch else None
    train(model, tiny.rows(8), settings, seed=0, optimizer=optimizer, on_step=on_step, **tuned.PLAIN)
    return model, made[0]


def active(optimizer):
    return [state["active"] for state in optimizer.state.values()]


@pytest.mark.parametrize("density", [0.003, 0.1, 0.5])
def test_without_exchange_it_is_the_usual_optimizer_on_a_mask(density):
    found, optimizer = growing(f"density={density}", "rate=0", "reselect=2")
    model, keep = of_matrices(), active(optimizer)
    chosen = {weight: mask for (_, weight), mask in zip(matrices(model), keep, strict=True)}
    tuned.trained(model, tuned.spec("full"), FIVE, optimizer=lambda n: Masked(chosen, lr=1e-3, weight_decay=0.0))
    assert tuned.apart(tuned.changes(found), tuned.changes(model)) <= 1e-6
    for change, mask in zip(tuned.changes(found).values(), keep, strict=True):
        assert torch.equal(change != 0, mask) and int(mask.sum()) == n_entries(mask.numel(), density)


@pytest.mark.parametrize("decay", [0.0, 0.5])
@pytest.mark.parametrize("rate", [0, 1])
def test_with_all_entries_it_is_the_usual_optimizer(decay, rate):
    """There is nothing to exchange."""
    settings = replace(FIVE, weight_decay=decay)
    found, _ = growing("density=1", f"rate={rate}", "reselect=1", settings=settings)
    wanted = tuned.changes(tuned.trained(of_matrices(), tuned.spec("full"), settings))
    assert tuned.apart(tuned.changes(found), wanted) <= 1e-6
    assert min(change.abs().max() for change in wanted.values()) >= 1e-3


def test_weight_decay_leaves_entries_at_rest_alone():
    found, optimizer = growing("density=0.1", "rate=0", settings=replace(FIVE, weight_decay=0.5))
    for change, mask in zip(tuned.changes(found).values(), active(optimizer), strict=True):
        assert torch.equal(change != 0, mask)


def test_as_many_entries_are_in_training_at_any_time():
    counts = []
    growing("density=0.05", "rate=0.5", "reselect=1",
            watch=lambda optimizer: counts.append([int(mask.sum()) for mask in active(optimizer)]))  # fmt: skip
    block = [51, 26, 26, 51, 102, 102, 102]  # a twentieth of 1024, 512 and 2048, rounded
    assert counts == [[*block, *block]] * 6


def test_entries_that_were_dropped_are_back_at_the_base():
    seen = []
    model, _ = growing("density=0.05", "rate=1", "reselect=1",
                       watch=lambda optimizer: seen.append([mask.clone() for mask in active(optimizer)]))  # fmt: skip
    for (name, change), *masks_of in zip(tuned.changes(model).items(), *seen, strict=True):
        ever, last = torch.stack(masks_of).any(0), masks_of[-1]
        assert torch.equal(change != 0, last), name
        assert int(ever.sum()) > 1.5 * int(last.sum())


def test_the_first_entries_follow_from_the_seed():
    tuning, model = tuned.spec("grow_and_drop"), of_matrices()
    first, again, other = (active(method_of(tuning).optimizer(model, FIVE, 5, seed)) for seed in (0, 0, 1))
    assert all(map(torch.equal, first, again)) and not any(map(torch.equal, first, other))


def by_hand(density=0.5, rate=1.0, reselect=2, n_steps=4, n=4):
    """An optimizer of one matrix; positions that are in training at first, and the others."""
    weight = torch.nn.Parameter(torch.arange(1.0, n + 1)[None])
    how = {"density": density, "rate": rate, "reselect": reselect, "n_steps": n_steps, "weight_decay": 0.0}
    optimizer = sparse_adam([weight], lr=0.1, first=3, **how)
    first = optimizer.state[weight]["active"][0]
    return weight, optimizer, torch.where(first)[0].tolist(), torch.where(~first)[0].tolist()


def step(weight, optimizer, gradient):
    weight.grad = torch.zeros_like(weight)
    for position, value in gradient.items():
        weight.grad[0, position] = value
    optimizer.step()


def test_the_entry_that_moved_least_is_dropped_and_the_one_with_the_largest_summed_gradient_grows():
    """1 of 2 is exchanged after two of four steps: rate 1 has fallen to one half."""
    weight, optimizer, (far, near), (loud, steady) = by_hand()
    base = weight.detach().clone()
    step(weight, optimizer, {far: 1.0, near: 1.0, loud: 5.0, steady: -1.0})
    assert weight[0, loud] == base[0, loud] and weight[0, steady] == base[0, steady]
    assert float(weight[0, near]) == pytest.approx(float(base[0, near]) - 0.1, abs=1e-5)
    step(weight, optimizer, {far: 1.0, near: -1.0, loud: -5.5, steady: -1.0})  # sums: 0.5 below 2
    assert float(weight[0, far]) == pytest.approx(float(base[0, far]) - 0.2, abs=1e-5)
    assert weight[0, near] == base[0, near]
    assert set(torch.where(optimizer.state[weight]["active"][0])[0].tolist()) == {far, steady}


def test_an_entry_that_grows_begins_as_if_training_began_with_it():
    weight, optimizer, (far, near), (_, steady) = by_hand()
    base = weight.detach().clone()
    for sign in (1.0, -1.0):
        step(weight, optimizer, {far: 1.0, near: sign, steady: 2.0})
    step(weight, optimizer, {far: 0.5, near: 9.0, steady: 4.0})
    assert float(weight[0, steady]) == pytest.approx(float(base[0, steady]) - 0.1, abs=1e-5)  # its first step
    assert weight[0, near] == base[0, near]
    step(weight, optimizer, {far: 0.5, near: 9.0, steady: -1.0})
    for position, gradients in ((far, (1.0, 1.0, 0.5, 0.5)), (steady, (4.0, -1.0))):
        alone = torch.nn.Parameter(base[0, position].clone())
        usual = torch.optim.AdamW([alone], lr=0.1, weight_decay=0.0)
        for gradient in gradients:
            alone.grad = torch.tensor(gradient)
            usual.step()
        assert float(weight[0, position]) == pytest.approx(float(alone), abs=1e-5)


def test_an_entry_that_comes_back_begins_anew():
    """After each of two steps one is exchanged, the one whose gradient was zero; after the third none is."""
    weight, optimizer, (stays, goes), (comes, _) = by_hand(reselect=1)
    base = weight.detach().clone()
    step(weight, optimizer, {stays: 1.0, comes: 1.0})
    step(weight, optimizer, {stays: 1.0, goes: 1.0})
    assert set(torch.where(optimizer.state[weight]["active"][0])[0].tolist()) == {stays, goes}
    step(weight, optimizer, {stays: 1.0, goes: 1.0})
    assert float(weight[0, goes]) == pytest.approx(float(base[0, goes]) - 0.1, abs=1e-5)


def test_gradients_are_summed_since_the_last_exchange():
    """What was large before it counts no more."""
    weight, optimizer, training, (first, second) = by_hand(reselect=1, n_steps=100)
    step(weight, optimizer, {training[0]: 1.0, training[1]: 0.1, first: 8.0, second: 7.0})
    now = optimizer.state[weight]["active"][0].tolist()
    assert now[first] and not now[second] and not optimizer.state[weight]["seen"].any()


@pytest.mark.parametrize(("rate", "n_steps", "exchanged"), [
    (1.0, 4, [3, 2, 1, 0]),  # of four: shares 3/4, 1/2, 1/4, and none after the last step
    (0.5, 4, [1, 1, 0, 0]),  # 3/8, 1/4, 1/8, rounded down
    (0.0, 4, [0, 0, 0, 0]),
])  # fmt: skip
def test_the_share_that_is_exchanged_falls_to_nothing(rate, n_steps, exchanged):
    weight, optimizer, *_ = by_hand(rate=rate, reselect=1, n_steps=n_steps, n=8)
    rng, found = torch.Generator().manual_seed(0), []
    for _ in range(n_steps):
        before = optimizer.state[weight]["active"].clone()
        step(weight, optimizer, dict(enumerate(torch.randn(8, generator=rng).tolist())))
        found.append(int((before & ~optimizer.state[weight]["active"]).sum()))
    assert found == exchanged


def test_no_more_is_exchanged_than_there_are_entries_at_rest():
    weight, optimizer, training, rest = by_hand(density=0.75, reselect=1, n_steps=100)
    assert len(training) == 3 and len(rest) == 1
    step(weight, optimizer, dict(zip(training, (0.1, 1.0, 2.0), strict=True)) | {rest[0]: 1.0})
    assert int(optimizer.state[weight]["active"].sum()) == 3 and optimizer.state[weight]["active"][0, rest[0]]


@pytest.mark.parametrize(("n", "density", "wanted"), [(2048, 0.01, 20), (512, 0.01, 5), (10, 0.01, 1), (8, 1.0, 8)])
def test_how_many_entries_a_share_is(n, density, wanted):
    assert n_entries(n, density) == wanted


@pytest.mark.parametrize(("given", "message"), [
    ("density=0", "density must be above 0 and at most 1, got 0"),
    ("density=1.5", "density must be above 0 and at most 1, got 1.5"),
    ("rate=-0.1", "rate must be .* at most 1, got -0.1"),
    ("reselect=0", "reselect must be at least 1 step, got 0"),
    ("reselect=2.5", "reselect: expected int, got '2.5'"),
    ("rat=1", "'grow_and_drop' has no option 'rat'.*did you mean"),
])  # fmt: skip
def test_options_out_of_range_are_refused(given, message):
    with pytest.raises(InputError, match=message) as caught:
        small.resolved(method="grow_and_drop", method_options=[given])
    assert "\n" not in str(caught.value)
