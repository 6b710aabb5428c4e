#!/usr/bin/env bash
# A database per service with two roles: <service>_migrator owns it and what is in it, <service> may connect and do what
# `fleet migrate` grants it. No other role may enter. Runs once, on an empty data volume.
set -euo pipefail
: "${FLOTILLA_SERVICES:?the services that get a database, separated by blanks}"

for service in ${FLOTILLA_SERVICES}; do
  name="$(tr 'a-z-' 'A-Z_' <<<"${service}")"
  password="${name}_DB_PASSWORD" migrator_password="${name}_MIGRATOR_DB_PASSWORD"
  psql --username "${POSTGRES_USER}" --dbname postgres --set ON_ERROR_STOP=1 \
    --set service="${service}" --set password="${!password:?}" \
    --set migrator="${service}_migrator" --set migrator_password="${!migrator_password:?}" <<'SQL'
CREATE ROLE :"migrator" LOGIN PASSWORD :'migrator_password';
CREATE ROLE :"service" LOGIN PASSWORD :'password';
CREATE DATABASE :"service" OWNER :"migrator";
REVOKE ALL ON DATABASE :"service" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"service" TO :"service";
SQL
done
