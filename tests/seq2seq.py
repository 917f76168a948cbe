"""A T5 small enough to train in a test, with a tokenizer that cuts text as T5's own does."""

WORDS = tuple("red green blue one two three four five cat dog wolf bear name say what is the of".split())


def tokenizer():
    """Whole words begin with the dummy space, every other text is spelled letter by letter."""
    from transformers import T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(f"▁{word}", -3.0) for word in WORDS] + [(letter, -8.0) for letter in "abcdefghijklmnopqrstuvwxyz?.:"]
    return T5Tokenizer(vocab=pieces, extra_ids=2)


def model(n_tokens, *, seed=0, **changes):
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    settings = {
        "vocab_size": n_tokens, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4,
        "dropout_rate": 0.0, "decoder_start_token_id": 0, "initializer_factor": 1.0,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return T5ForConditionalGeneration(T5Config(**(settings | changes))).eval()


def write(folder, *, seed=0, **changes):
    """Write model and tokenizer as a folder; return the model."""
    tokens = tokenizer()
    network = model(len(tokens), seed=seed, **changes)
    network.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return network
