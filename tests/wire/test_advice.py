"""What to do about what went wrong."""

from __future__ import annotations

import pytest

from torchkeeper.wire.advice import bring, nearest, package_of, required


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("cv2", "opencv-python-headless"),
        ("PIL.Image", "pillow"),
        ("sentence_transformers", "sentence-transformers"),
    ],
)
def test_packages_are_called_as_they_are_got(module: str, package: str) -> None:
    assert package_of(module) == package


LISTED = required("# comment\nopencv_python>=4\n  Scikit.Learn==1\n-r other\nplain\n")


def test_what_a_requirements_file_names() -> None:
    assert required("") == set()
    assert {"opencv-python", "scikit-learn", "plain"} == LISTED


@pytest.mark.parametrize(
    ("module", "requirements", "told"),
    [
        ("cv2", "req.txt", "req.txt names it: set install_py_dep_per_model, or install it"),
        ("sklearn.svm", "req.txt", "req.txt names it: set install_py_dep_per_model, or install it"),
        (
            "other",
            "req.txt",
            "pip install other where the server runs, or list it in req.txt and set install_py_dep_per_model",
        ),
        ("cv2", None, "pip install opencv-python-headless where the server runs"),
    ],
)
def test_how_a_module_comes_here(module: str, requirements: str | None, told: str) -> None:
    assert bring(module, requirements, LISTED) == told


def test_the_nearest_name_is_offered_only_where_it_is_near() -> None:
    known = ("image_classifier", "image_segmenter", "text_classifier")
    assert nearest("image_clasifier", known) == "; did you mean image_classifier?"
    assert nearest("mine", known) == ""
