"""What the API answers with: one class for each kind of object. Generated from its schema."""

from ai_video_assistant._generated.models import *  # noqa: F403 - all of them, by their names
