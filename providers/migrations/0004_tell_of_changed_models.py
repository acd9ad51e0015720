from django.db import migrations

# What a gateway's memory of models is made of. What the last test found is no news.
FORWARD = """
CREATE FUNCTION tell_of_changed_models() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('changes', 'models:');
  RETURN NULL;
END $$;

CREATE TRIGGER tell_of_changed_llm AFTER INSERT OR DELETE ON providers_llm
FOR EACH ROW EXECUTE FUNCTION tell_of_changed_models();

CREATE TRIGGER tell_of_updated_llm AFTER UPDATE ON providers_llm
FOR EACH ROW WHEN (
  (OLD.id, OLD.owner_id, OLD.name, OLD.provider_id, OLD.vendor, OLD.base_url, OLD.api_key,
   OLD.is_enabled, OLD.type, OLD.model_name, OLD.temperature, OLD.context_length,
   OLD.max_output_tokens, OLD.supports_thinking, OLD.accepts_images, OLD.aliases, OLD.dimensions)
  IS DISTINCT FROM
  (NEW.id, NEW.owner_id, NEW.name, NEW.provider_id, NEW.vendor, NEW.base_url, NEW.api_key,
   NEW.is_enabled, NEW.type, NEW.model_name, NEW.temperature, NEW.context_length,
   NEW.max_output_tokens, NEW.supports_thinking, NEW.accepts_images, NEW.aliases, NEW.dimensions)
) EXECUTE FUNCTION tell_of_changed_models();

CREATE TRIGGER tell_of_changed_provider AFTER INSERT OR DELETE ON providers_provider
FOR EACH ROW EXECUTE FUNCTION tell_of_changed_models();

CREATE TRIGGER tell_of_updated_provider AFTER UPDATE ON providers_provider
FOR EACH ROW WHEN (
  (OLD.id, OLD.owner_id, OLD.vendor, OLD.base_url, OLD.api_key, OLD.is_enabled)
  IS DISTINCT FROM
  (NEW.id, NEW.owner_id, NEW.vendor, NEW.base_url, NEW.api_key, NEW.is_enabled)
) EXECUTE FUNCTION tell_of_changed_models();
"""
BACK = """
DROP TRIGGER tell_of_updated_provider ON providers_provider;
DROP TRIGGER tell_of_changed_provider ON providers_provider;
DROP TRIGGER tell_of_updated_llm ON providers_llm;
DROP TRIGGER tell_of_changed_llm ON providers_llm;
DROP FUNCTION tell_of_changed_models();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('providers', '0003_tell_models_apart'),
    ]

    operations = [
        migrations.RunSQL(FORWARD, BACK),
    ]
