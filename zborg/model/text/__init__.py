"""Units, remedies and places, as people read them."""
