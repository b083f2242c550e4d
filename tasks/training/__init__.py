"""What trainings share: the loop, sampling, augmentation, batches and pseudo targets."""
