"""SimpleTuner's optimizers and precisions in our names."""

from typing import Any

from sanaflow.errors import nearest
from sanaflow.simpletuner.option import Becomes, Given, LeftOut
from sanaflow.training_settings import KAHAN, OPTIMIZERS

NEAREST = {
    **dict.fromkeys(("torch-nadam", "torch-adamax", "torch-sparseadam"), "torch-adam"),
    **dict.fromkeys(("torch-rmsprop", "torch-adagrad", "torch-adadelta"), "bnb-adagrad"),
    **dict.fromkeys(("ao-adamw8bit", "ao-adamw4bit", "ao-adamwfp8", "adamw8bit"), "bnb-adamw8bit"),
    **dict.fromkeys(("adamw_schedulefree+aggressive", "adamw_schedulefree+no_kahan"), "adamw_schedulefree"),
    **dict.fromkeys(("deepspeed-adam", "deepspeed-adamw", "adamw", "dadaptation"), "torch-adamw"),
    **{"torch-radam": "optimi-radam", "torch-asgd": "torch-sgd", "torch-adafactor": "adafactor"},
    **{"ao-adamfp8": "bnb-adam8bit", "lion": "optimi-lion", "stableadamw": "optimi-stableadamw"},
}
"""Those that aren't here, with what is nearest."""
FAMILIES = {"lion": "optimi-lion", "came": "came", "adafactor": "adafactor", "muon": "muon", "": "torch-adamw"}
"""The nearest to a sdnq optimizer, by what its name has in it."""
WITHOUT = {
    "adam_beta": ("torch-sgd", "optimi-sgd", "bnb-adagrad", "bnb-adagrad8bit"),
    "adam_epsilon": (
        *("torch-sgd", "optimi-sgd", "optimi-lion", "bnb-lion", "bnb-lion8bit", "bnb-lion-paged"),
        *("bnb-lion8bit-paged", "came", "adafactor"),
    ),
}
"""Optimizers that have no such settings."""
FEW_BITS = ("int8-bnb", "nf4-bnb")
"""The precisions there are, besides whole weights."""


def optimizer(value: Any, given: Given) -> Becomes:
    """An optimizer's name; 'adamw_bf16' is what the weights' precision asks for."""
    name = str(value).lower()
    if name == "adamw_bf16":
        return _adamw_bf16(given)
    if name == "optimi-adamw":
        return Becomes(name, also={"training.adam_weight_decay": 0.0})
    if name in OPTIMIZERS:
        return Becomes(name)
    if name.startswith("sdnq-"):
        ours = next(ours for part, ours in FAMILIES.items() if part in name)
    elif name in NEAREST:
        ours = NEAREST[name]
    else:
        known = ("adamw_bf16", *OPTIMIZERS, *NEAREST)
        raise ValueError(f"'{value}' is no optimizer of SimpleTuner's: {nearest(name, known)}")
    return Becomes(ours, f"the nearest to '{name}'")


def _adamw_bf16(given: Given) -> Becomes:
    if is_lora(given):
        return Becomes("torch-adamw", "an adapter's weights are in fp32 here, so 'adamw_bf16' has no use")
    if weights_in_bf16_asked(given):
        also = {"training.adam_beta2": 0.999, "training.adam_weight_decay": 0.01}
        return Becomes("optimi-adamw", "keeps what rounding to bf16 loses, as 'adamw_bf16' does", also)
    return Becomes("torch-adamw", "the weights are in fp32, so 'adamw_bf16' has no use")


def is_lora(given: Given) -> bool:
    """Whether an adapter is trained."""
    return given.text("model_type", "full") == "lora"


def weights_in_bf16_asked(given: Given) -> bool:
    """Whether SimpleTuner would load the weights in bf16."""
    return given.text("mixed_precision", "bf16") in ("bf16", "fp8") and given.text("base_model_default_dtype") != "fp32"


def weights_dtype(value: Any, given: Given) -> Becomes | LeftOut:
    """`base_model_default_dtype`, which in bf16 has to fit the optimizer and the products."""
    if str(value).lower() not in ("bf16", "fp32"):
        raise ValueError("should be 'bf16' or 'fp32'")
    if str(value).lower() == "fp32":
        return Becomes("fp32")
    if not weights_in_bf16_asked(given):
        return LeftOut("not needed", "it goes with mixed_precision 'bf16': the weights are in fp32")
    ours = optimizer(given.get("optimizer", "adamw_bf16"), given).value
    if not is_lora(given) and ours not in KAHAN:
        return Becomes("fp32", f"in bf16, as SimpleTuner has them, '{ours}' would lose small updates")
    return Becomes("bf16", "" if "base_model_default_dtype" in given else "as SimpleTuner loads the weights")


def precision(value: Any, given: Given | None = None) -> Becomes:
    """A precision of frozen weights: 8 or 4 bits by bitsandbytes are what there is."""
    name = str(value).lower()
    if name in ("no_change", *FEW_BITS):
        return Becomes(name)
    kind, _, _ = name.partition("-")
    if kind in ("int16", "uint16", "fp16"):
        return Becomes("no_change", f"'{name}' isn't here, and saves no memory beside bf16")
    if kind in ("int8", "uint8", "int8dq", "int6", "int5", "uint5", "fp8", "fp8uz", "fp8wo") and "int4" not in name[4:]:
        return Becomes("int8-bnb", f"the nearest to '{name}'")
    if kind in ("int4", "uint4", "uint3", "uint2", "int2", "int8dq", "fp8"):
        return Becomes("nf4-bnb", f"the nearest to '{name}'")
    raise ValueError(f"'{value}' is no precision of SimpleTuner's, such as 'int8-quanto' or 'nf4-bnb'")


def base_precision(value: Any, given: Given) -> Becomes:
    """The precision of a base, which only under an adapter may be in few bits."""
    found = precision(value)
    if found.value != "no_change" and not is_lora(given):
        return Becomes(
            "no_change", f"weights in few bits ('{value}') can't be trained: they stay whole, in more memory"
        )
    return found
