"""What conversations took and how they went, worked out for those who look back."""
