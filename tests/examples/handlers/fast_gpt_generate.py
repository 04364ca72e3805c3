import torch


def load_model(path):
    return torch.load(path)


def encode_tokens(text):
    return torch.tensor([ord(letter) for letter in text])


def next_token(model, token):
    return model[token % len(model)]
