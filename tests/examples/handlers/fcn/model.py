from heads import FCNHead
from layer_getter import LayerGetter
from small_segmenters import FCN, Backbone


class FCNImageSegmenter(FCN):
    def __init__(self, num_classes=5, **kwargs):
        backbone = LayerGetter(Backbone(), return_layers={"layer4": "out", "layer3": "aux"})
        super(FCNImageSegmenter, self).__init__(  # noqa: UP008
            backbone, FCNHead(6, num_classes), FCNHead(4, num_classes)
        )
