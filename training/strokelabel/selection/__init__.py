"""Which scan an annotator should label next."""
