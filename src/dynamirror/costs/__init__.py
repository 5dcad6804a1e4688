"""What a mirror costs a month: prices, measured figures, and the model that multiplies them."""
