"""Balance the tasks in a plain PyTorch loop: the quickest way in when you have a model already.

Two targets of very different scale share a trunk. The plain sum follows the large one; a method that looks at gradients
follows both.
"""

import torch

import polytask as pt

STEPS, BATCH = 200, 64


def train(method: str) -> dict[str, float]:
    """Train from the same start with one method; returns the squared errors on fresh data, relative to the scales."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    trunk = torch.nn.Sequential(torch.nn.Linear(10, 32), torch.nn.Tanh())
    heads = torch.nn.ModuleDict({"metres": torch.nn.Linear(32, 1), "kilometres": torch.nn.Linear(32, 1)})
    mixing = torch.randn(10, 2, generator=generator)
    scale = torch.tensor([30.0, 0.03])

    def losses(rows: int) -> dict[str, torch.Tensor]:
        x = torch.randn(rows, 10, generator=generator)
        y = torch.tanh(x @ mixing) * scale
        z = trunk(x)
        return {
            name: torch.nn.functional.mse_loss(heads[name](z).squeeze(1), y[:, k])
            for k, name in enumerate(("metres", "kilometres"))
        }

    optimizer = torch.optim.Adam([*trunk.parameters(), *heads.parameters()], lr=1e-2)
    balancer = pt.Balancer(method, shared=trunk, announce=None)
    for _ in range(STEPS):
        optimizer.zero_grad()
        balancer.backward(losses(BATCH))
        optimizer.step()
    with torch.no_grad():
        final = losses(2000)
    return {name: float(loss) / float(scale[k]) ** 2 for k, (name, loss) in enumerate(final.items())}


def main() -> None:
    """Compare the plain sum with two methods that look at gradients."""
    for method in ("equal", "nash_mtl", "fairgrad"):
        errors = train(method)
        print(f"{method:>10}  " + "  ".join(f"{name} {error:.3f}" for name, error in errors.items()))


if __name__ == "__main__":
    main()
