from django.db import migrations

# What of a key or its owner decides who is let in. `last_used_at` alone is no news.
FORWARD = """
CREATE FUNCTION tell_of_changed_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN
    PERFORM pg_notify('changes', 'keys:' || OLD.digest);
  END IF;
  IF TG_OP = 'INSERT' OR (TG_OP = 'UPDATE' AND NEW.digest <> OLD.digest) THEN
    PERFORM pg_notify('changes', 'keys:' || NEW.digest);
  END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER tell_of_changed_key AFTER INSERT OR DELETE ON accounts_apikey
FOR EACH ROW EXECUTE FUNCTION tell_of_changed_key();

CREATE TRIGGER tell_of_updated_key AFTER UPDATE ON accounts_apikey
FOR EACH ROW WHEN (
  (OLD.digest, OLD.owner_id, OLD.name, OLD.scopes, OLD.is_enabled, OLD.expires_at,
   OLD.requests_per_minute, OLD.allowed_models, OLD.monthly_token_budget,
   OLD.tokens_per_minute, OLD.monthly_cost_budget)
  IS DISTINCT FROM
  (NEW.digest, NEW.owner_id, NEW.name, NEW.scopes, NEW.is_enabled, NEW.expires_at,
   NEW.requests_per_minute, NEW.allowed_models, NEW.monthly_token_budget,
   NEW.tokens_per_minute, NEW.monthly_cost_budget)
) EXECUTE FUNCTION tell_of_changed_key();

CREATE FUNCTION tell_of_changed_owner() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('changes', 'keys:user:' || NEW.id);
  RETURN NULL;
END $$;

CREATE TRIGGER tell_of_updated_owner AFTER UPDATE ON accounts_user
FOR EACH ROW WHEN (
  (OLD.is_active, OLD.is_staff, OLD.username)
  IS DISTINCT FROM (NEW.is_active, NEW.is_staff, NEW.username)
) EXECUTE FUNCTION tell_of_changed_owner();
"""
BACK = """
DROP TRIGGER tell_of_updated_owner ON accounts_user;
DROP TRIGGER tell_of_updated_key ON accounts_apikey;
DROP TRIGGER tell_of_changed_key ON accounts_apikey;
DROP FUNCTION tell_of_changed_owner();
DROP FUNCTION tell_of_changed_key();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0002_limit_tokens_and_cost'),
    ]

    operations = [
        migrations.RunSQL(FORWARD, BACK),
    ]
