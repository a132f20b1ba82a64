"""Distillation from a teacher's scores: of margins, of the list, and with AR2's adversarial term.

Margin-MSE: Hofstätter et al., arXiv 2010.02666. AR2: Zhang et al., arXiv 2110.03611. A teacher's
score that is missing must be masked by the caller: it is not guessed here, and a NaN stays a NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from ...core.errors import PyriteError
from .negatives import counted, row_means


def margin_mse(
    pos_B: Tensor, neg_BN: Tensor, teacher_pos_B: Tensor, teacher_neg_BN: Tensor, mask_BN: Tensor
) -> Tensor:
    """`((pos - neg) - (teacher_pos - teacher_neg))**2`, the mean of each row, float32 [B].

    Scores as the models give them, without temperature; no gradient reaches the teacher. A row
    without negatives is 0.
    """
    student = counted(neg_BN, None, mask_BN)
    teacher = counted(teacher_neg_BN.detach(), None, mask_BN)
    margins_BN = pos_B.float()[:, None] - student.values_BN
    wanted_BN = teacher_pos_B.detach().float()[:, None] - teacher.values_BN
    return row_means(student.weights() * (margins_BN - wanted_BN) ** 2, student.counts())


def kl_distillation(
    pos_B: Tensor,
    neg_BN: Tensor,
    teacher_pos_B: Tensor,
    teacher_neg_BN: Tensor,
    mask_BN: Tensor,
    temperature: float = 1.0,
    teacher_temperature: float = 1.0,
) -> Tensor:
    """`KL(teacher || student) * temperature**2` over the positive and the negatives, float32 [B].

    Each side is a softmax of its scores over its temperature; no gradient reaches the teacher.
    Raises PyriteError unless both temperatures are above 0.
    """
    _check_temperatures(temperature, teacher_temperature)
    student_BM = _log_softmax(pos_B, neg_BN, mask_BN, temperature)
    teacher_BM = _log_softmax(teacher_pos_B, teacher_neg_BN, mask_BN, teacher_temperature).detach()
    counts_BM = pad(mask_BN, (1, 0), value=True)
    shares_BM = teacher_BM.exp() * counts_BM
    return (shares_BM * (teacher_BM - student_BM)).sum(dim=1) * temperature**2


def ar2(
    pos_B: Tensor,
    neg_BN: Tensor,
    ranker_pos_B: Tensor,
    ranker_neg_BN: Tensor,
    mask_BN: Tensor,
    adversarial: float = 0.5,
    teacher_temperature: float = 1.0,
) -> Tensor:
    """AR2's loss of the retriever: `adversarial * A + (1 - adversarial) * H`, float32 [B].

    H is the cross entropy of the retriever's softmax under the ranker's; A is the sum over texts,
    the positive included, of `log sigmoid(ranker_pos - ranker) * log softmax(retriever)`, which is
    small where the retriever proposes what fools the ranker. The rows' mean is used, where the
    paper's code sums A over the batch. No gradient reaches the ranker. Raises PyriteError unless
    0 <= adversarial <= 1 and teacher_temperature > 0.
    """
    _check_temperatures(1.0, teacher_temperature)
    if not 0.0 <= adversarial <= 1.0:
        raise PyriteError(f"AR2: adversarial={adversarial} is a share and must be in 0..1")
    retriever_BM = _log_softmax(pos_B, neg_BN, mask_BN, 1.0)
    counts_BM = pad(mask_BN, (1, 0), value=True)
    ranker_BM = _log_softmax(ranker_pos_B, ranker_neg_BN, mask_BN, teacher_temperature).detach()
    ranked_pos_B1 = ranker_pos_B.detach().float()[:, None]
    ranked_BN = counted(ranker_neg_BN.detach(), None, mask_BN).values_BN
    beaten_BM = logsigmoid(ranked_pos_B1 - torch.cat([ranked_pos_B1, ranked_BN], dim=1))
    pull_BM = adversarial * beaten_BM - (1.0 - adversarial) * ranker_BM.exp()
    return (counts_BM * pull_BM * retriever_BM).sum(dim=1)


def _log_softmax(pos_B: Tensor, neg_BN: Tensor, mask_BN: Tensor, temperature: float) -> Tensor:
    """Log shares of [positive, negatives], float32 [B, 1 + N]: 0, no gradient, where masked."""
    negatives = counted(neg_BN, None, mask_BN)
    scores_BM = torch.cat([pos_B.float()[:, None], negatives.values_BN], dim=1) / temperature
    absent_BM = pad(~mask_BN, (1, 0), value=False)
    # -inf would meet a share of 0 in a product
    return scores_BM.masked_fill(absent_BM, -torch.inf).log_softmax(1).masked_fill(absent_BM, 0.0)


def _check_temperatures(temperature: float, teacher_temperature: float) -> None:
    if not (temperature > 0.0 and teacher_temperature > 0.0):
        raise PyriteError(
            f"distillation: temperature={temperature} (train.loss.temperature) and"
            f" teacher_temperature={teacher_temperature} (train.loss.spread) must be above 0"
        )
