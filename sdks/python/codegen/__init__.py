"""Makes `src/ai_video_assistant/_generated` from the product's OpenAPI schema. Not in the wheel.

`python -m codegen SCHEMA` from this folder; scripts/generate_sdks.sh calls it.

    names        which operations the package has, and what they and their types are called
    schema       reading the schema: what of it answers consist of, made fit for a client
    operations   an operation → a method, once for the sync and once for the async client
"""
