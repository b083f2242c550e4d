"""Values that no stage can work with are refused on reading the settings."""

import re
from pathlib import Path

import pytest

from tag2mask.configs.load import ConfigError, load_config
from tag2mask.configs.runtime import BadResource, runtime_of

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"


@pytest.mark.parametrize(
    "change, message",
    [
        *(
            (f"{key}=[]", f"{key}: Tuple should have at least 1 item after validation, not 0 (given: [])")
            for key in (
                "cams.scales",
                "attention_maps.scales",
                "prediction.scales",
                "segmenter.resize",
                "segmenter.rates",
                "segmenter.train_scales",
            )
        ),
        ("cams.scales=1", "cams.scales: write a list, such as [1, 2] (given: 1)"),
        ("segmenter.rates=[6, -1]", "segmenter.rates.1: Input should be greater than or equal to 1 (given: -1)"),
        ("segmenter.train_scales=[0.5, 1.0]", "segmenter.train_scales: must begin with 1.0, not 0.5"),
        ("classifier.drop_epochs=[-4]", "classifier.drop_epochs.0: Input should be greater than or equal to 0"),
        ("attention.drop_epochs=[2, -1]", "attention.drop_epochs.1: Input should be greater than or equal to 0"),
        ("segmenter.learning_rate=.inf", "segmenter.learning_rate: Input should be a finite number (given: inf)"),
        ("segmenter.momentum=.nan", "segmenter.momentum: Input should be a finite number (given: nan)"),
        ("cams.scales=[1.0, .inf]", "cams.scales.1: Input should be a finite number (given: inf)"),
        ("saliency.backbone.name=Res Net", "saliency.backbone.name: String should match pattern"),
        (
            "saliency.backbone={name: mobilenet_v2, output_stride: 16, weights: packaged}",
            "saliency.backbone: weights 'packaged' do not exist for mobilenet_v2, but for tf_efficientnet_lite0, ",
        ),
        (
            "saliency.backbone={name: mobilenet_v2, output_stride: 16, weights: timm}",
            "saliency.backbone: weights 'timm' do not fit mobilenet_v2, whose layers are torchvision's",
        ),
        ("fusion.crf.bilateral_rgb=0.02", "fusion.crf.bilateral_rgb: Input should be greater than or equal to 0.1"),
        ("classifier.feature_copies=3", "classifier: feature_copies 3: flip mirrors half of them; take an even number"),
        (
            "attention={image_size: 32, backbone: {name: resnet18, output_stride: 32, weights: none}}",
            "attention: image_size 32 makes maps of one cell at output_stride 32: at least 64",
        ),
        (
            "segmenter={crop_size: 64, train_scales: [1.0, 0.5], backbone: {name: resnet18, output_stride: 32}}",
            "segmenter: crop_size 64 makes maps of one cell at output_stride 32 and the smallest of train_scales, 0.5",
        ),
        (
            "saliency={provider: purnet, image_size: 32, backbone: {name: resnet18, output_stride: 32}}",
            "saliency: image_size 32 makes maps of one cell at output_stride 32: at least 64",
        ),
        (
            "cosaliency={provider: icnet, image_size: 32, backbone: {name: squeezenet1_1, output_stride: 16}}",
            "cosaliency: image_size 32 is too small for icnet on squeezenet1_1 at output_stride 16: at least 48",
        ),
        ("saliency.maps=maps", "saliency: maps are read by provider 'folder' alone, not by 'reciprocal'"),
        (
            "saliency.backbone={name: convnext_atto, output_stride: 16, weights: torchvision}",
            "saliency.backbone: weights 'torchvision' do not fit convnext_atto, whose layers are timm's",
        ),
    ],
)
def test_value_that_no_stage_takes_is_refused(change: str, message: str) -> None:
    """Empty lists, numbers out of range and numbers that are not finite are named with file, key and value."""
    with pytest.raises(ConfigError, match=re.escape(f"demo.yaml: {message}")):
        load_config(DEMO, [change])


def test_only_the_classifier_needs_an_epoch_that_is_accumulated() -> None:
    """A classifier of one epoch is refused, which would accumulate nothing; an attention model of one epoch learns."""
    with pytest.raises(ConfigError, match="classifier: accumulate_from 1 must be below epochs 1"):
        load_config(DEMO, ["classifier.epochs=1"])
    assert load_config(DEMO, ["attention.epochs=1"]).attention.epochs == 1


@pytest.mark.parametrize("change", ["accumulate_from=0", "accumulate_probability=0.2"])
def test_the_attention_model_takes_no_settings_of_accumulation(change: str) -> None:
    """Settings by which the classifier accumulates attention are refused where nothing accumulates any."""
    message = f"attention: {change.partition('=')[0]} is the classifier's, whose attention is accumulated: set it there"
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(DEMO, [f"attention.{change}"])


def test_a_key_of_earlier_versions_is_reported_what_became_of_it(tmp_path: Path) -> None:
    """Settings that still choose the precision are refused by file and section, with the option that does it now."""
    path = tmp_path / "old.yaml"
    path.write_text("name: old\ndataset: {root: .}\nclassifier: {precision: bfloat16}\n")
    message = "'precision' is chosen by the machine, no longer by the settings: delete it; to choose by hand, run with "
    for given, changes in ((f"{path}: classifier: ", []), ("--set saliency.precision=x: ", ["saliency.precision=x"])):
        with pytest.raises(ConfigError, match=re.escape(f"{given}{message}--precision float32 or ")):
            load_config(path, changes)


def test_no_section_takes_an_infinite_number() -> None:
    """What holds for one section holds for the others."""
    for key in ("saliency.learning_rate", "dataset.maximum_megapixels", "attention.backbone_factor"):
        with pytest.raises(ConfigError, match=rf"{key}: .* \(given: inf\)"):
            load_config(DEMO, [f"{key}=.inf"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "dataset.classes=[cat, background]",
            "dataset.classes: 'background' is the name of number 0",
        ),
        ("dataset.classes=[BACKGROUND]", "dataset.classes: 'BACKGROUND' is the name of number 0"),
        ('dataset.classes=["c\\nat"]', "dataset.classes: 'c\\nat' has characters that cannot be printed"),
        ("dataset.classes=[guinea pig]", "dataset.classes: 'guinea pig' is not one word"),
        ('dataset.classes=[""]', "dataset.classes: '' is not one word"),
        ('dataset.classes=[" cat"]', "dataset.classes: ' cat' is not one word"),
        ("dataset.classes=[cat, dog, dog]", "dataset.classes: 'dog' stands there more than once; every class needs"),
        (f"dataset.classes=[{'x' * 101}]", "… is longer than 100 characters"),
        (f"name={'x' * 300}", "name: String should have at most 100 characters (given: 'xxx"),
        ('name="demo\\n"', "name: String should match pattern"),
        ("name=../demo", "name: String should match pattern"),
    ],
)
def test_names_that_cannot_be_are_refused_on_reading(change: str, message: str) -> None:
    """A class called background, of no or several words or there twice, and a run's name that no file may have."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(DEMO, [change])


def test_the_address_of_dask_is_one_of_tls_where_an_example_is_given() -> None:
    """What is no address is answered with one that is encrypted, and addresses of both kinds are taken."""
    for address in ("tls://host:8786", "tcp://host:8786", "local", "local:4"):
        assert runtime_of(Path("store"), "auto", "auto", 1, "dask", address).dask == address
    with pytest.raises(BadResource, match="^--dask host: write local, local:4 or an address such as tls://host:8786$"):
        runtime_of(Path("store"), "auto", "auto", 1, "dask", "host")


def test_a_user_without_a_home_is_named_with_file_and_key(tmp_path: Path) -> None:
    """A path below the home folder of a user who has none is refused, in the file and in a change."""
    path = tmp_path / "a.yaml"
    path.write_text("name: a\ndataset: {root: ~nobody-at-all/x}\n")
    message = "dataset.root: ~nobody-at-all/x: ~nobody-at-all has no home folder here; write the path"
    for place, file, changes in ((f"{path}: ", path, []), ("--set ", DEMO, ["dataset.root=~nobody-at-all/x"])):
        with pytest.raises(ConfigError, match=f"^{re.escape(place + message)}$"):
            load_config(file, changes)


@pytest.mark.parametrize(("network", "maps"), [("classifier", "cams"), ("attention", "attention_maps")])
@pytest.mark.parametrize("change", ["scales=[0.5, 1.0]", "image_size=64"])
def test_an_unnormalized_graph_is_asked_for_maps_of_its_own_size(network: str, maps: str, change: str) -> None:
    """Maps of another size than that of training are refused for each network that a run reads, and no other."""
    changes = [f"{network}.graph.normalize=false", f"{maps}.{change}"]
    size = getattr(load_config(DEMO), network).image_size
    wanted = f"{network}.graph.normalize is off, .* {maps}.image_size must be {size} and {maps}" r"\.scales \[1\.0\]"
    with pytest.raises(ConfigError, match=wanted):
        load_config(DEMO, [*changes, "cam_refinement.attention=true"])
    unread = ["initial_labels=cam_refinement", "cam_refinement.attention=false"]
    if network == "attention":
        load_config(DEMO, [*changes, *unread])
