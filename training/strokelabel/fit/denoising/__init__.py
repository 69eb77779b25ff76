"""Correction of label maps as a task of training: a denoising autoencoder."""
