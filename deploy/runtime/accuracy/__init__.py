"""The accuracy of a bundle against its reference: tensors, results and scores."""
