from small_networks import AlexNet


class ImageClassifier(AlexNet):
    def __init__(self):
        super(ImageClassifier, self).__init__()  # noqa: UP008
