from small_detectors import FasterRCNN, backbone


class ObjectDetector(FasterRCNN):
    def __init__(self, num_classes=4, **kwargs):
        super(ObjectDetector, self).__init__(backbone("small", True), num_classes, **kwargs)  # noqa: UP008
