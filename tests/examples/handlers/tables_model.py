import torch


class Trend(torch.nn.Module):
    """The last value and the mean step on top: (rows, 3) -> (rows, 1)."""

    def __init__(self):
        super().__init__()
        self.steps = torch.nn.Linear(3, 1, bias=False)
        with torch.no_grad():
            self.steps.weight.copy_(torch.tensor([[-0.5, 0.0, 1.5]]))

    def forward(self, rows):
        return self.steps(rows)
