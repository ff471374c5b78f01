"""Muon for the hidden matrices of a model, AdamW for all else: torch's own, both, as one optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from sweeps.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor


class Muon(Optimizer):
    """Steps of one size in all directions of a matrix (Jordan 2024, kellerjordan.github.io/posts/muon).

    A convolution's weight (out, in, height, width) is the matrix (out, in x height x width). Both
    optimizers share the rate: Muon's updates are scaled to the size of AdamW's (Liu et al. 2025,
    arXiv:2502.16982).

    Args:
        params: Groups, see `sweeps.training.optimizers.parameter_groups`; those for Muon are 'hidden'.
        lr: Of both.
        momentum: Of Muon.
        nesterov: Of Muon.
        ns_steps: Newton-Schulz iterations of Muon.
        betas: Of AdamW.
        eps: Of AdamW.
        weight_decay: Of both.

    Raises:
        BadInputError: Nothing is hidden, or torch has no Muon.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float = 1e-3,
        *,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        betas: Sequence[float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "hidden": False})
        if not hasattr(torch.optim, "Muon"):
            raise BadInputError(
                f"Muon is in torch 2.9 and later; this is torch {torch.__version__}."
            )
        hidden = [group for group in self.param_groups if group["hidden"]]
        others = [group for group in self.param_groups if not group["hidden"]]
        if not hidden:
            raise BadInputError(
                "Muon finds no hidden matrix in this model: its only layer of weights is its output,"
                " which AdamW trains. Choose optimizer=adamw, or a deeper model."
            )
        self._views = [(p, nn.Parameter(_matrix(p.detach()))) for g in hidden for p in g["params"]]
        views = dict(self._views)
        own = [{**_shared(g), "params": [views[p] for p in g["params"]]} for g in hidden]
        muon = {"momentum": momentum, "nesterov": nesterov, "ns_steps": ns_steps}
        self._muon = torch.optim.Muon(own, adjust_lr_fn="match_rms_adamw", **muon)  # type: ignore[arg-type]
        rest = [{**_shared(g), "params": g["params"]} for g in others]
        self._adamw = AdamW(rest, betas=(betas[0], betas[1]), eps=eps)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Updates every parameter that has a gradient."""
        for parameter, view in self._views:
            view.grad = None if parameter.grad is None else _matrix(parameter.grad, like=parameter)
        for inner, is_hidden in ((self._muon, True), (self._adamw, False)):
            groups = (group for group in self.param_groups if group["hidden"] == is_hidden)
            for own, group in zip(inner.param_groups, groups, strict=True):
                own.update(_shared(group))
            inner.step()  # type: ignore[no-untyped-call]

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of both."""
        inner = {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}
        return {**super().state_dict(), **inner}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues from a saved state."""
        self._muon.load_state_dict(state_dict["muon"])
        self._adamw.load_state_dict(state_dict["adamw"])
        super().load_state_dict({key: state_dict[key] for key in ("state", "param_groups")})


def _shared(group: dict[str, Any]) -> dict[str, Any]:
    return {"lr": group["lr"], "weight_decay": group["weight_decay"]}


def _matrix(weight: Tensor, like: Tensor | None = None) -> Tensor:
    """Returns a weight (out, ...) as a matrix (out, n), a view of it in any memory format.

    Args:
        weight: A weight or its gradient.
        like: Whose order the columns have, or None for the weight's own.
    """
    strides = (weight if like is None else like).stride()
    order = sorted(range(1, weight.ndim), key=lambda dim: -strides[dim])
    columns = weight.permute(0, *order)
    shape = (weight.shape[0], -1)
    return columns.view(shape) if like is None else columns.reshape(shape)
