from small_detectors import MaskRCNN, backbone


class MaskObjectDetector(MaskRCNN):
    def __init__(self, num_classes=4, **kwargs):
        super(MaskObjectDetector, self).__init__(backbone("small", False), num_classes, **kwargs)  # noqa: UP008
