"""The model gateway: `/v1`, for the official SDKs of two vendors, over the catalogue of models."""
