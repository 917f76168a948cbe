"""Methods that are nothing but a configuration of peft: one line each.

Sources: rank-stabilised LoRA (arXiv:2312.03732), DoRA (arXiv:2402.09353), PiSSA (arXiv:2404.02948), OLoRA
(arXiv:2406.01775), VeRA (arXiv:2310.11454), IA3 (arXiv:2205.05638), tuning of norms (arXiv:2312.11420), prefix tuning
(arXiv:2101.00190).
"""

from __future__ import annotations

from itlib.methods._peft import FEEDFORWARD, VIRTUAL, Adapter
from itlib.registry import methods

LOW_RANK = {"r": "rank", "lora_alpha": "alpha", "target_modules": "targets"}
TABLE = {
    "rslora": Adapter("LoraConfig", LOW_RANK, {"use_rslora": True}, encoders=True),
    "dora": Adapter("LoraConfig", LOW_RANK, {"use_dora": True}, encoders=True),
    "pissa": Adapter("LoraConfig", LOW_RANK, {"init_lora_weights": "pissa"}, moves_base=True),
    "olora": Adapter("LoraConfig", LOW_RANK, {"init_lora_weights": "olora"}, moves_base=True),
    "vera": Adapter("VeraConfig", {"r": "rank", "target_modules": "targets"}, {"d_initial": 0.1}, faster=16.0),
    "ia3": Adapter(
        "IA3Config",
        {},
        {"target_modules": ["k_proj", "v_proj", "down_proj"], "feedforward_modules": [FEEDFORWARD[-1]]},
        faster=16.0,
    ),
    "norms": Adapter("LNTuningConfig", {}, {}, faster=16.0),
    "prefix": Adapter("PrefixTuningConfig", {"num_virtual_tokens": VIRTUAL}, merges=False, faster=16.0),
}

for _name, _adapter in TABLE.items():
    methods.register(_name)(_adapter)
