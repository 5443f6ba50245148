"""What post-processing gives: results of one picture or one input, compared and drawn."""
