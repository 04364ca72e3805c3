"""The recommender: dense numbers and bags of ids become vectors, and their sum a score."""

import torch


class Recommender(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.keys = config.keys
        self.dense = torch.nn.Linear(config.dense_features, config.width)
        self.tables = torch.nn.ModuleDict(
            {
                key: torch.nn.EmbeddingBag(rows, config.width, mode="sum")
                for key, rows in zip(config.keys, config.rows, strict=True)
            }
        )
        self.over = torch.nn.Linear(config.width, 1)

    def forward(self, dense, lengths, values):
        vectors, start = [self.dense(dense)], 0
        for key, counts in zip(self.keys, lengths, strict=True):
            size = int(counts.sum())
            offsets = counts.cumsum(0) - counts
            vectors.append(self.tables[key](values[start : start + size], offsets))
            start += size
        return torch.sigmoid(self.over(torch.stack(vectors).sum(0)))
