#!/usr/bin/env bash
# One role and one database per service; no role may connect to another's database.
set -euo pipefail
for service in crm erp mes gateway; do
  psql --quiet --set ON_ERROR_STOP=1 --username postgres --set role="$service" \
       --set password="$(cat "/run/orderloop/$service")" <<'SQL'
CREATE ROLE :"role" LOGIN PASSWORD :'password';
CREATE DATABASE :"role" OWNER :"role";
REVOKE CONNECT ON DATABASE :"role" FROM PUBLIC;
SQL
done
