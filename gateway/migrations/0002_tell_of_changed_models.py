from django.db import migrations

# A route's last error is no news. The function is the one of the catalogue's models.
FORWARD = """
CREATE TRIGGER tell_of_changed_name AFTER INSERT OR DELETE ON gateway_publicmodel
FOR EACH ROW EXECUTE FUNCTION tell_of_changed_models();

CREATE TRIGGER tell_of_updated_name AFTER UPDATE ON gateway_publicmodel
FOR EACH ROW WHEN (
  (OLD.name, OLD.kind, OLD.description, OLD.is_enabled, OLD.max_tokens_cap, OLD.price_input,
   OLD.price_output, OLD.price_cache_read, OLD.cache_s)
  IS DISTINCT FROM
  (NEW.name, NEW.kind, NEW.description, NEW.is_enabled, NEW.max_tokens_cap, NEW.price_input,
   NEW.price_output, NEW.price_cache_read, NEW.cache_s)
) EXECUTE FUNCTION tell_of_changed_models();

CREATE TRIGGER tell_of_changed_route AFTER INSERT OR DELETE ON gateway_route
FOR EACH ROW EXECUTE FUNCTION tell_of_changed_models();

CREATE TRIGGER tell_of_updated_route AFTER UPDATE ON gateway_route
FOR EACH ROW WHEN (
  (OLD.model_id, OLD.llm_id, OLD.priority, OLD.weight, OLD.is_enabled)
  IS DISTINCT FROM
  (NEW.model_id, NEW.llm_id, NEW.priority, NEW.weight, NEW.is_enabled)
) EXECUTE FUNCTION tell_of_changed_models();
"""
BACK = """
DROP TRIGGER tell_of_updated_route ON gateway_route;
DROP TRIGGER tell_of_changed_route ON gateway_route;
DROP TRIGGER tell_of_updated_name ON gateway_publicmodel;
DROP TRIGGER tell_of_changed_name ON gateway_publicmodel;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('gateway', '0001_public_models_and_usage'),
        ('providers', '0004_tell_of_changed_models'),
    ]

    operations = [
        migrations.RunSQL(FORWARD, BACK),
    ]
