"""The head of a model, and the transform of its output."""

import transformers
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from peft.utils import ModulesToSaveWrapper, TrainableTokensWrapper
from torch import nn

from gradgate.errors import ModelError
from gradgate.models.transform import LogitTransform


def find_head(model: transformers.PreTrainedModel | PeftModel) -> nn.Module:
    """The module that maps hidden states to the vocabulary.

    Raises:
        ModelError: There is none, or it is not a linear layer: its gradient would not be
            Delta^T H, and a wrong score is worse than none.
    """
    head = model.get_output_embeddings()
    if head is None:
        raise ModelError(f"{type(model).__name__} has no output projection; use a causal LM")
    linear_of(head)
    return head


def linear_of(head: nn.Module) -> nn.Linear:
    """The linear layer of a head, without the wrapper of peft; errors as for `find_head`."""
    inner: nn.Module = head
    if isinstance(inner, ModulesToSaveWrapper):
        inner = inner.modules_to_save[inner.active_adapter]
    if isinstance(inner, TrainableTokensWrapper):
        inner = inner.original_module
    if isinstance(inner, LoraLinear):
        inner = inner.get_base_layer()
    if type(inner) is not nn.Linear:
        raise ModelError(
            f"the head is a {type(inner).__name__}; only a plain linear head can be scored exactly"
        )
    return inner


def logit_transform(config: transformers.PretrainedConfig) -> LogitTransform:
    """Soft-capping (Gemma) and scaling (Cohere, Falcon H1 multiply, Granite divides) of the logits.

    A transform that is not known here is found by the check in `scoring`, which compares these
    logits with the model's own.
    """
    values = config.to_dict()
    scale = float(values.get("logit_scale") or 1.0) / float(values.get("logits_scaling") or 1.0)
    scale *= float(values.get("lm_head_multiplier") or 1.0)
    return LogitTransform(scale, values.get("final_logit_softcapping"))
