#!/usr/bin/env bash
# One role and one database per service, none of which another role may enter. Runs once, on an empty data volume.
set -euo pipefail
: "${FLOTILLA_SERVICES:?the services that get a database, separated by blanks}"
: "${FLOTILLA_DB_PASSWORD:?the password of the service roles}"

for service in ${FLOTILLA_SERVICES}; do
  psql --username "${POSTGRES_USER}" --dbname postgres --set ON_ERROR_STOP=1 \
    --set service="${service}" --set password="${FLOTILLA_DB_PASSWORD}" <<'SQL'
CREATE ROLE :"service" LOGIN PASSWORD :'password';
CREATE DATABASE :"service" OWNER :"service";
REVOKE ALL ON DATABASE :"service" FROM PUBLIC;
SQL
done
