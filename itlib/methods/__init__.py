"""Tuning methods: which weights move.

A method is an object with three functions, registered by name:

    attach(model, spec)        -> the model to train; exactly the tuned weights require gradients
    save(model, folder, base)  -> writes what the method changed, as safetensors; ``base`` is the base model's spec
    load(model, spec, folder)  -> the base model with a saved change applied, ready for evaluation
"""
