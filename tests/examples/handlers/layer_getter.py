from collections import OrderedDict

from torch import nn


class LayerGetter(nn.ModuleDict):
    """The outputs of some of a model's layers, under names of their own."""

    def __init__(self, model, return_layers):
        super().__init__(dict(model.named_children()))
        self.return_layers = return_layers

    def forward(self, x):
        out = OrderedDict()
        for name, module in self.items():
            x = module(x)
            if name in self.return_layers:
                out[self.return_layers[name]] = x
        return out
