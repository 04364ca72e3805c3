import re

from small_networks import DenseNet

#: Checkpoints of old have names like `denselayer1.norm.1.weight`.
OLD = re.compile(r"^(.*denselayer\d+\.(?:norm|conv))\.([12]\.\w+)$")


class ImageClassifier(DenseNet):
    def __init__(self):
        super(ImageClassifier, self).__init__(4, (2, 1), 6)  # noqa: UP008

    def load_state_dict(self, state_dict, strict=True):
        for key in list(state_dict):
            if match := OLD.match(key):
                state_dict[match[1] + match[2]] = state_dict.pop(key)
        return super(ImageClassifier, self).load_state_dict(state_dict, strict)  # noqa: UP008
