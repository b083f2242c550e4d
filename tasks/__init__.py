"""The stages, one file each; their order here is the order of the method.

A version is raised by hand when the mathematics of its stage changes, so that artifacts made before are rebuilt.  It
stands here and not in the stage's file because planning a run must not import torch.
"""

STAGE_VERSIONS = {
    "index_dataset": 2,
    "index_masks": 2,
    "index_saliency_set": 2,
    "train_classifier": 1,
    "infer_cams": 1,
    "train_attention": 1,
    "infer_attention": 1,
    "predict_prior": 2,
    "make_saliency_pseudo_labels": 1,
    "train_saliency": 2,
    "predict_saliency": 2,
    "train_cosaliency": 4,
    "predict_cosaliency": 2,
    "mine_objects": 1,
    "train_segmenter": 2,
    "predict_masks": 1,
    "refine_masks": 1,
    "mask_nonsalient": 1,
    "measure_labels": 1,
    "evaluate": 5,
    "render_report": 3,
}

WHOLE_STAGES = frozenset({"predict_cosaliency"})
"""Stages in which an image's part of the result depends on the other images too: nothing of it is reused for a dataset
to which images were added."""
