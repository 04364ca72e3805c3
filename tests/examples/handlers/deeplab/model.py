from heads import DeepLabHead
from layer_getter import LayerGetter
from small_segmenters import Backbone, DeepLabV3


class DeepLabV3ImageSegmenter(DeepLabV3):
    def __init__(self, num_classes=5, **kwargs):
        backbone = LayerGetter(Backbone(), return_layers={"layer4": "out", "layer3": "aux"})
        super(DeepLabV3ImageSegmenter, self).__init__(  # noqa: UP008
            backbone, DeepLabHead(6, num_classes), DeepLabHead(4, num_classes)
        )
