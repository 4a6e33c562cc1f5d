"""What CLIP's embeddings of many pictures say together: how far two sets are apart, and how alike their members are.

Embeddings are unit vectors, fp32 (pictures, channels).
"""

import torch

BANDWIDTH = 10.0
SCALE = 1000.0


def distribution_distance(drawn: torch.Tensor, real: torch.Tensor) -> float:
    """Maximum mean discrepancy with a Gaussian kernel, as CMMD (https://arxiv.org/abs/2401.09603), but unbiased.

    CMMD's own estimate counts each picture's likeness to itself, and so grows as pictures get fewer. This one is about
    0 for two halves of one set however few they are; it can be a little below. Not a number below two pictures each.
    """
    if min(len(drawn), len(real)) < 2:
        return float("nan")
    drawn, real = drawn.double(), real.double()
    within = [_kernel(one, one) for one in (drawn, real)]
    means = [(k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in within]
    return SCALE * float(means[0] + means[1] - 2 * _kernel(drawn, real).mean())


def _kernel(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.exp(-torch.cdist(one, other).square() / (2 * BANDWIDTH**2))


def likeness(pictures: torch.Tensor, prompts: list[str]) -> float:
    """Mean cosine of pictures of different prompts: near 1 if a model draws one thing whatever it is asked.

    Not a number where all prompts are one.
    """
    order = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
    number = torch.tensor([order[prompt] for prompt in prompts])
    different = number[:, None] != number[None, :]
    return float((pictures @ pictures.T)[different].mean()) if different.any() else float("nan")


def nearest(pictures: torch.Tensor, among: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each picture's greatest cosine with one of the others, and that one's position; both (pictures,)."""
    greatest = (pictures @ among.T).max(dim=1)
    return greatest.values, greatest.indices
